// Package mirror copies the leases of one keyspace to another, once or for as long as it
// runs: then it keeps both in step, so that hosts can move from one to the other one by
// one while all reach all. It decides which side a lease belongs to, what a copy says and
// how long it lives. It does not know that the sides are etcd's two APIs, nor who asks for
// it; both are values that it is given.
//
// # Originals and copies
//
// A lease that a host wrote is an original. What the mirror writes is a copy: it has the
// name of the other side as its mark ([subnet.Lease.Mirror]), which readers of all releases
// ignore. A copy is never copied, so there is no loop. For each key there is one rule for
// each state of the two sides:
//
//	one side        the other       what is done
//	original        nothing         a copy is made, unless it would overlap another's original
//	original        copy            the copy says what the original does, and is kept alive
//	original        original        of one host: the one that was written first becomes a copy
//	                                of the other. Of two hosts: a conflict; nothing is written
//	nothing         copy            the copy is removed
//	copy            copy            both are left to expire
//
// A host that moves takes its copy over, by writing its lease without the mark. From then on
// the original is there, and what it left behind becomes the copy, for the hosts that have
// not moved yet. A live host whose lease is made a copy by mistake writes it again at once,
// and is believed, since that is what was written last. After a start of the mirror nothing
// was seen to be written: then what lives longer was written last, as all hosts give their
// leases the same time.
//
// # What it must not do
//
// It writes leases only, each on the condition that its key still is what it was last seen
// to be. It never removes or overwrites an original, but for that of a host whose other
// original is the later one, and that becomes a copy with the same content. A reservation is
// never given a time to live.
//
// A copy is removed only if this mirror saw its original go, more than two seconds ago, and
// if the side of the original was not wiped: leases that go together, more than half of all
// or with the configuration, or because the store's revision went back, were not given up by
// their hosts. Such a copy is left to expire. What goes while no mirror runs expires likewise.
//
// A copy lives as long as a lease does, a day, and is refreshed each hour. So a mirror that
// died is as a host that died: nothing changes for most of a day, and then the copies go.
// A shorter life would be no safer, since subnets of live hosts would look free sooner.
package mirror
