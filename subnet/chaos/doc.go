// Package chaos proves what the lease code promises, on a real etcd that is
// killed, hung, cut off, slowed down and wiped. It is a module of its own, so
// that what it needs for that (a proxy with faults, a checker of
// linearizability) is no dependency of the daemon.
//
// The duplicate-owner run is its centre. Hosts, some in this process and some
// processes of their own that are stopped and resumed, take and hold leases of a
// few seconds through links that lose, delay and cut what they send, while
// members die and hang and new hosts come and go. Three witnesses are kept:
//
//   - history: every change of the leases, as three watches say that go past all
//     faults, one at each member. They are put together by etcd's index; a piece
//     that none of them saw fails the run;
//   - claims: what each host believed and until when, by CLOCK_BOOTTIME, which is
//     the same clock in all processes;
//   - operations: each call of the store, with its answer, its start and its end.
//
// With etcd's v3 API the history is one that cannot have pieces missing: nothing is
// compacted that the watches have not seen. A deletion that no host has asked for is an
// expiry there.
//
// From these follows what is checked: no two hosts ever believe at one time that
// a subnet is theirs; none believes so after the store has given it to another;
// no write changes another host's key and no delete removes it; and the
// operations, expiries among them, are linearizable.
//
// A model of the rules that deployed versions follow goes through the same run
// and must be found guilty, so that the check is known to be able to fail.
package chaos
