package mirror

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"flanneld/subnet"
)

// survey returns a plan from v2 to v3.
func (l *lab) survey() Plan {
	l.Helper()
	p, err := Survey(l.Context(), Side{"v2", l.v2}, Side{"v3", l.v3}, false)
	if err != nil {
		l.Fatal(err)
	}
	return p
}

func TestCarryCopiesOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.v2.put(one, 20*time.Hour)
		l.v2.put(two, 10*time.Minute)
		l.v2.put(three, 0)
		four := lease("10.5.4.0/24", "192.0.2.4", "n4", "04")
		l.v2.put(four, day)
		l.v3.put(four, day)                                        // its host has moved already
		l.v3.put(lease("10.5.5.0/24", "192.0.2.5", "", "05"), day) // a new host
		p := l.survey()
		if !p.Config || len(p.Items) != 4 || l.v3.count() != 0 {
			t.Fatalf("plan: %+v", p)
		}
		time.Sleep(time.Second)
		written, err := p.Carry(t.Context())
		if written != 3 || err != nil || l.v2.count() != 0 {
			t.Errorf("Carry = %d, %v", written, err)
		}
		l.want(l.v3, one, "v2")
		l.want(l.v3, two, "v2")
		l.want(l.v3, three, "v2")
		l.want(l.v3, four, "")
		for k, want := range map[subnet.Key]time.Duration{one.Key(): 20 * time.Hour, two.Key(): LeastTTL} {
			if left := time.Until(l.v3.get(k).Expires); left > want || left < want-2*time.Second {
				t.Errorf("%s lives for %s, want %s", k, left, want)
			}
		}
		if !l.v3.get(three.Key()).Reserved() {
			t.Error("the copy of a reservation is none")
		}
		again := l.survey()
		for _, i := range again.Items {
			if i.Do != Keep {
				t.Errorf("again: %+v", i)
			}
		}
		if n, err := again.Carry(t.Context()); again.Config || n != 0 || err != nil || l.v3.count() != 3 {
			t.Errorf("again: %d, %v", n, err)
		}
		changed := one
		changed.V4.Data = `{"VtepMAC":"99"}`
		l.v2.put(changed, day)
		if p := l.survey(); p.Items[0].Do != Update {
			t.Errorf("after a change: %+v", p.Items[0])
		} else if _, err := p.Carry(t.Context()); err != nil {
			t.Error(err)
		}
		l.want(l.v3, changed, "v2")
	})
}

func TestSurveyFindsWhatWouldHarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.v2.put(one, day)
		l.v2.put(two, day)
		rival := lease("10.5.1.0/24", "192.0.2.9", "n9", "09")
		l.v3.put(rival, day)
		p := l.survey()
		if c := p.Conflicts(); len(c) != 1 || c[0].Subnet != "10.5.1.0/24" || len(p.Items) != 1 {
			t.Errorf("plan: %+v", p)
		}
		l.v3.SetConfig(`{"Network": "10.6.0.0/16"}`)
		if _, err := Survey(t.Context(), Side{"v2", l.v2}, Side{"v3", l.v3}, false); !errors.Is(err, ErrConfig) {
			t.Errorf("another configuration: %v", err)
		}
		l.v2.SetConfig(`{"Network": 1}`)
		if _, err := Survey(t.Context(), Side{"v2", l.v2}, Side{"v3", l.v3}, false); !errors.Is(err, ErrConfig) {
			t.Errorf("no configuration: %v", err)
		}
		if _, err := Survey(t.Context(), Side{"v2", newSpace("v2")}, Side{"v3", l.v3}, false); !errors.Is(err, ErrConfig) {
			t.Errorf("none at all: %v", err)
		}
	})
}

// What a host does between the survey and the write is seen.
func TestCarryOverwritesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.v2.put(one, day)
		l.v2.put(two, day)
		other := l.survey()
		l.v3.SetConfig(`{"Network": "10.6.0.0/16"}`)
		if n, err := other.Carry(t.Context()); n != 0 || !errors.Is(err, ErrConfig) {
			t.Errorf("with another configuration meanwhile, Carry = %d, %v", n, err)
		}
		l.v3.DeleteConfig()
		p := l.survey()
		l.v3.SetConfig(document + "\n") // by another run
		rival := lease("10.5.1.0/24", "192.0.2.9", "n9", "09")
		l.v3.put(rival, day)
		written, err := p.Carry(t.Context())
		if written != 1 || err != nil || len(p.Conflicts()) != 1 {
			t.Errorf("Carry = %d, %v; %+v", written, err, p.Problems)
		}
		l.want(l.v3, rival, "")
		p = l.survey()
		l.v3.setDown(errors.New("away"))
		if _, err := p.Carry(context.Background()); err != nil {
			t.Errorf("nothing is to be written, and Carry = %v", err)
		}
	})
}
