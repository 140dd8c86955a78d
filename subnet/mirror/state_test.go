package mirror

import (
	"testing"
	"time"

	"flanneld/subnet"
)

// listedState is one of two sides that were listed at revision 10, the first with leases.
func listedState(leases ...subnet.Lease) *state {
	s := newState("v2", "v3", day)
	for i := range leases {
		leases[i].Rev = 5
	}
	s.reset(0, leases, 10, time.Time{})
	s.reset(1, nil, 10, time.Time{})
	return s
}

func at(l subnet.Lease, rev subnet.Revision, mark string) subnet.Lease {
	l.Rev, l.Mirror = rev, mark
	return l
}

// A watch tells of a write before, or after, the mirror knows that it was done.
func TestStateHearsOfItsOwnWritesAtAnyTime(t *testing.T) {
	copied := at(one, 11, "v2")
	made := step{do: create, on: 1, lease: at(one, 0, "v2"), ttl: day}
	now := time.Now()
	for name, tt := range map[string]struct {
		do   func(*state)
		want subnet.Revision // of the copy; zero: there is none
	}{
		"only the answer": {func(s *state) { s.wrote(made, copied, now) }, 11},
		"the event after it": {func(s *state) {
			s.wrote(made, copied, now)
			s.apply(1, subnet.Event{Lease: copied}, now)
		}, 11},
		"the event before it": {func(s *state) {
			s.apply(1, subnet.Event{Lease: copied}, now)
			s.wrote(made, copied, now)
		}, 11},
		"it was deleted before the answer": {func(s *state) {
			s.apply(1, subnet.Event{Lease: copied}, now)
			s.apply(1, subnet.Event{Lease: at(one, 12, ""), Deleted: true}, now)
			s.wrote(made, copied, now)
		}, 0},
		"its host took it over before the answer": {func(s *state) {
			s.apply(1, subnet.Event{Lease: copied}, now)
			s.apply(1, subnet.Event{Lease: at(one, 12, "")}, now)
			s.wrote(made, copied, now)
		}, 12},
		"it was removed, and its host made it again before the answer": {func(s *state) {
			s.wrote(made, copied, now)
			s.apply(1, subnet.Event{Lease: at(one, 13, ""), Deleted: true}, now)
			s.apply(1, subnet.Event{Lease: at(one, 14, "")}, now)
			s.wrote(step{do: remove, on: 1, was: copied}, subnet.Lease{}, now)
		}, 14},
		"it was removed": {func(s *state) {
			s.wrote(made, copied, now)
			s.wrote(step{do: remove, on: 1, was: copied}, subnet.Lease{}, now)
		}, 0},
		"an event from before the listing": {func(s *state) { s.apply(1, subnet.Event{Lease: at(one, 9, "")}, now) }, 0},
		"an event from before a quiet refresh": {func(s *state) {
			s.wrote(made, at(one, 15, "v2"), now)
			s.apply(1, subnet.Event{Lease: at(one, 11, ""), Deleted: true}, now)
		}, 15},
	} {
		t.Run(name, func(t *testing.T) {
			s := listedState(one)
			tt.do(s)
			if got := s.spaces[1][one.Key()].Rev; got != tt.want {
				t.Errorf("the copy is of revision %d, want %d", got, tt.want)
			}
		})
	}
}

// What the mirror writes itself does not tell where a host is.
func TestStateDoesNotTakeItsOwnWriteForAHosts(t *testing.T) {
	now := time.Now()
	for _, late := range []bool{false, true} {
		s := listedState(at(one, 0, ""))
		moved := at(one, 12, "")
		moved.Expires, moved.V4.Data = now.Add(day), `{"VtepMAC":"99"}`
		s.apply(1, subnet.Event{Lease: moved}, now) // the host; v2 has a reservation
		steps, _, _ := plan(s, now)
		if len(steps) != 1 || steps[0].on != 0 || steps[0].ttl != 0 || steps[0].lease.Mirror != "" {
			t.Fatalf("steps: %+v", steps)
		}
		followed := at(steps[0].lease, 20, "")
		followed.Expires = time.Time{}
		if late {
			s.wrote(steps[0], followed, now)
		}
		s.apply(0, subnet.Event{Lease: followed}, now)
		if !late {
			s.wrote(steps[0], followed, now)
		}
		if !later(s.spaces[1][one.Key()], s.spaces[0][one.Key()]) {
			t.Errorf("late: %t: the mirror's own write is taken for the later one", late)
		}
		if steps, _, _ := plan(s, now.Add(time.Hour)); len(steps) != 0 {
			t.Errorf("late: %t: then %+v", late, steps)
		}
	}
}
