package fastpath

import (
	"encoding/binary"
	"errors"
	"log/slog"
	"net/netip"
	"testing"
	"time"
)

// TestAPeerIsSentToWhileItAnswers and is taken from for some time after it has withdrawn.
func TestAPeerIsSentToWhileItAnswers(t *testing.T) {
	now := time.Now()
	silent := Peer{Subnet: netip.MustParsePrefix("10.5.2.0/24"), Remote: netip.MustParseAddr("192.0.2.2"), Near: true}
	says, far := silent, silent
	says.Announces, far.Announces, far.Near = true, true, false
	p := newPeer(silent, now)
	mustBe := func(what string, flags uint32) {
		t.Helper()
		if got := p.entry(true, now).Flags; got != flags {
			t.Errorf("%s: flags %d, want %d", what, got, flags)
		}
	}
	if p.ask(now) || p.answered(now) {
		t.Error("one that does not announce is asked, or its answer counts")
	}
	mustBe("does not announce", 0)
	p.follow(says, now)
	mustBe("announces", takeRx)
	if p.answered(now) {
		t.Error("an answer counts that was not asked for")
	}
	if !p.ask(now) || p.ask(now) || !p.answered(now) || p.answered(now) {
		t.Error("it is not asked once, or does not answer once")
	}
	mustBe("answers", takeRx|takeTx)
	if p.ask(now.Add(askAgain-1)) || !p.ask(now.Add(askAgain)) {
		t.Error("it is not asked again at its time")
	}
	for i := 1; i < patience; i++ {
		if !p.ask(now.Add(askAgain + time.Duration(i)*time.Second)) {
			t.Errorf("ping %d is not sent", i)
		}
	}
	mustBe("has not answered yet", takeRx|takeTx)
	p.ask(now.Add(askAgain + patience*time.Second))
	mustBe("does not answer", takeRx|plainRx)
	p.rxUntil = now
	mustBe("has not answered for long", plainRx)
	later := now.Add(askAgain + patience*time.Second)
	for _, waits := range []time.Duration{soon, 2 * soon, 4 * soon, 8 * soon, retry, retry} {
		later = later.Add(waits)
		if p.ask(later.Add(-1)) || !p.ask(later) {
			t.Fatalf("it is not tried again after %s", waits)
		}
		for range patience {
			later = later.Add(time.Second)
			p.ask(later)
		}
		mustBe("does not answer still", plainRx)
	}
	p.hasAsked(now)
	mustBe("asks", takeRx)
	p.next = now.Add(retry)
	p.hasAsked(now)
	for i := range patience + 1 {
		if p.ask(now.Add(time.Duration(i)*time.Second)) != (i < patience) {
			t.Error("who asks is not asked at once, or for ever")
		}
	}
	mustBe("asks, and does not answer", takeRx)
	later = now.Add(retry)
	if !p.ask(later) || !p.answered(later) {
		t.Error("its answer does not count")
	}
	mustBe("answers again", takeRx|takeTx)
	if !p.leave(now) || p.leave(now) || p.ask(now.Add(retry-1)) {
		t.Error("it is not left, or asked again at once")
	}
	mustBe("is behind a path with a smaller MTU", takeRx)
	if !p.ask(now.Add(retry)) || !p.answered(now.Add(retry)) {
		t.Error("it is not tried again, though the path may be as before")
	}
	p.unproven(now)
	mustBe("nothing comes by the device", takeRx)
	if !p.ask(now) || !p.answered(now) {
		t.Error("it is not asked at once when something comes again")
	}
	p.follow(far, now)
	mustBe("is reached by another interface", takeRx)
	p.follow(silent, now)
	mustBe("has withdrawn", takeRx)
	p.rxUntil = now
	mustBe("has withdrawn long ago", 0)
	p.follow(says, now)
	if !p.ask(now) {
		t.Error("it is not asked when it announces again")
	}
	if got := p.entry(false, now).Flags; got != 0 {
		t.Errorf("nothing comes by the device: flags %d", got)
	}
	if got := newPeer(says, now).entry(false, now).Flags; got != takeRx {
		t.Errorf("it may have sent to the daemon before this one: flags %d", got)
	}
}

// TestPeersComeAndGo in the map of the programs.
func TestPeersComeAndGo(t *testing.T) {
	programs := mustLoad(t)
	p := Path{programs: programs, peers: make(map[netip.Addr]*peer), Config: Config{Changed: func() {}}}
	one := func(subnet, remote string) Peer {
		return Peer{Subnet: netip.MustParsePrefix(subnet), Remote: netip.MustParseAddr(remote)}
	}
	for _, state := range [][]Peer{
		{one("10.5.2.0/24", "192.0.2.2"), one("10.5.3.0/24", "192.0.2.3")},
		{one("10.5.2.0/24", "192.0.2.4"), one("10.5.3.0/25", "192.0.2.3")},
		{one("10.5.3.0/25", "192.0.2.3")},
		nil,
	} {
		for range 2 {
			if p.Set(State{Subnet: netip.MustParsePrefix("10.5.1.0/24"), MTU: 1472, Peers: state}); p.refused != "" {
				t.Fatal(p.refused)
			}
		}
		want := make(map[netip.Prefix]netip.Addr)
		for _, peer := range state {
			want[peer.Subnet] = peer.Remote
			if half := netip.PrefixFrom(peer.Subnet.Addr(), 25); peer.Subnet.Bits() < 25 {
				want[half] = peer.Remote // a part of it
			}
		}
		for _, subnet := range []string{"10.5.2.0/24", "10.5.3.0/24", "10.5.3.0/25"} {
			prefix := netip.MustParsePrefix(subnet)
			value, err := programs.peers.Get(peerKey(prefix))
			var got netip.Addr
			if err == nil {
				got, _ = netip.AddrFromSlice(value[:4])
			}
			if got != want[prefix] {
				t.Errorf("%v: %s is at %v, want %v", state, subnet, got, want[prefix])
			}
		}
	}
}

// TestAnnouncedIsWhatIsTaken whole: once something has come by the device.
func TestAnnouncedIsWhatIsTaken(t *testing.T) {
	changes := 0
	p := Path{programs: mustLoad(t), wrong: "not attached", Config: Config{Changed: func() { changes++ }, Log: slog.New(slog.DiscardHandler)}}
	for _, step := range []struct {
		name, why string
		do        func()
		changes   int
		mode      uint32
	}{
		{"nothing is attached", "not attached", func() { p.change(func() {}) }, 0, modePlain},
		{"all is attached", "no ping has come by flannel-gpe yet", func() { p.Failed(nil) }, 1, modePlain},
		{"a ping came by the device", "", func() { p.change(func() { p.proven = true }) }, 1, modeGPE},
		{"its port is closed", "closed", func() { p.closedPort("closed") }, 1, modePlain},
		{"it is open", "", func() { p.change(func() { p.proven, p.closed = true, "" }) }, 1, modeGPE},
		{"a filter is missing", "no filter", func() { p.Failed(errors.New("no filter")) }, 1, modePlain},
		{"it is missing still", "no filter", func() { p.Failed(errors.New("no filter")) }, 0, modePlain},
		{"the kernel takes no peer either", "no filter", func() { p.note(&p.refused, errors.New("no room")) }, 0, modePlain},
		{"all is attached again", "no room", func() { p.Failed(nil) }, 1, modePlain},
		{"and taken", "no ping has come by flannel-gpe yet", func() { p.note(&p.refused, nil) }, 1, modePlain},
	} {
		changes = 0
		step.do()
		if p.Why() != step.why || p.Announces() != (step.why == "") || changes != step.changes || p.settings.Mode != step.mode {
			t.Errorf("%s: why %q, mode %d, %d changes", step.name, p.Why(), p.settings.Mode, changes)
		}
	}
}

// TestAllPeersLeaveAWayThatFails, whatever it is: nobody would notice what is lost there.
func TestAllPeersLeaveAWayThatFails(t *testing.T) {
	says := Peer{Subnet: netip.MustParsePrefix("10.5.2.0/24"), Remote: netip.MustParseAddr("192.0.2.2"), Near: true, Announces: true}
	p := Path{programs: mustLoad(t), peers: make(map[netip.Addr]*peer), Config: Config{Changed: func() {}, Log: slog.New(slog.DiscardHandler)}}
	flags := func() uint32 {
		value, err := p.programs.peers.Get(peerKey(says.Subnet))
		if err != nil {
			t.Fatal(err)
		}
		return binary.NativeEndian.Uint32(value[4:])
	}
	p.Set(State{Subnet: netip.MustParsePrefix("10.5.1.0/24"), MTU: 1472, Peers: []Peer{says}})
	for name, fail := range map[string]func(){
		"the port is closed":     func() { p.closedPort("closed") },
		"a filter is missing":    func() { p.Failed(errors.New("no filter")) },
		"the state is not taken": func() { p.note(&p.refused, errors.New("no room")) },
	} {
		one := p.peers[says.Subnet.Addr()]
		one.ask(time.Now().Add(time.Hour))
		p.change(func() { p.proven, p.closed, p.wrong, p.refused = true, "", "", "" })
		p.heard(says.Subnet.Addr(), 1472, false)
		if got := flags(); got != takeRx|takeTx {
			t.Fatalf("it has answered, and the flags are %d", got)
		}
		fail()
		if got := flags(); got != takeRx || p.settings.Mode != modePlain {
			t.Errorf("%s: flags %d, mode %d", name, got, p.settings.Mode)
		}
	}
}
