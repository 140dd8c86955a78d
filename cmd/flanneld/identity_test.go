package main

import (
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"flanneld/pkg/statedir"
)

func TestIdentityIsBoundToItsMachine(t *testing.T) {
	var log buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	a, b := machine{ID: hash("a"), Board: hash("x")}, machine{ID: hash("b"), Board: hash("x")}
	state := statedir.Memory()
	first := loadIdentity(state, true, a, logger)
	if len(first.id) != nodeIDLen || !first.fresh {
		t.Fatalf("first identity: %+v", first)
	}
	for _, m := range []machine{a, {ID: a.ID}, {Board: a.Board}, {}, a} {
		if again := loadIdentity(state, true, m, logger); again.id != first.id || again.fresh {
			t.Errorf("on %+v it is %q, fresh: %t; want %q", m, again.id, again.fresh, first.id)
		}
	}
	if log.String() != "" {
		t.Errorf("logged: %s", log.String())
	}
	for _, m := range []machine{b, {ID: b.ID, Board: hash("y")}} {
		copied := loadIdentity(state, true, m, logger)
		if copied.id == first.id || copied.fresh {
			t.Errorf("a copy on %+v has the id %q, fresh: %t", m, copied.id, copied.fresh)
		}
		if again := loadIdentity(state, true, m, logger); again.id != copied.id {
			t.Errorf("the copy's id changes from %q to %q", copied.id, again.id)
		}
		first = copied
	}
	if n := strings.Count(log.String(), "another machine's"); n != 2 {
		t.Errorf("%d lines about copies: %s", n, log.String())
	}
}

func TestIdentityOutlivesADirectoryThatCannotBeWritten(t *testing.T) {
	m := machine{ID: hash("a")}
	first, second := loadIdentity(statedir.Memory(), false, m, discard), loadIdentity(statedir.Memory(), false, m, discard)
	if len(first.id) != nodeIDLen || first.id != second.id || strings.Contains(m.ID, first.id) {
		t.Errorf("ids %q and %q", first.id, second.id)
	}
	if other := loadIdentity(statedir.Memory(), false, machine{ID: hash("b")}, discard); other.id == first.id {
		t.Error("two machines have one id")
	}
	if none := loadIdentity(statedir.Memory(), false, machine{}, discard); len(none.id) != nodeIDLen {
		t.Errorf("on an unknown machine the id is %q", none.id)
	}
}

func TestIdentitiesOfAMachineHaveItsMark(t *testing.T) {
	a, b := machine{ID: hash("a"), Board: hash("x")}, machine{ID: hash("a"), Board: hash("y")}
	first, second := loadIdentity(statedir.Memory(), true, a, discard), loadIdentity(statedir.Memory(), true, a, discard)
	without := loadIdentity(statedir.Memory(), false, a, discard)
	for _, id := range []string{first.id, second.id, without.id} {
		if len(a.mark()) != nodeIDLen/2 || len(id) != nodeIDLen || !strings.HasPrefix(id, a.mark()) || strings.HasPrefix(id, b.mark()) {
			t.Errorf("id %q of the machine with the mark %q, not %q", id, a.mark(), b.mark())
		}
	}
	if first.id == second.id || first.id == without.id {
		t.Errorf("ids %q, %q and %q are not different", first.id, second.id, without.id)
	}
}

func TestIdentityThatIsDamagedIsMadeAnew(t *testing.T) {
	dir, err := statedir.Open(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "{", `{"NodeID":""}`, `{"NodeID":"../../../../../../../../../../x"}`, `{"NodeID":"ABCDEF0123456789ABCDEF0123456789"}`, "\x00"} {
		if err := dir.Save(identityName, []byte(text)); err != nil {
			t.Fatal(err)
		}
		var log buffer
		i := loadIdentity(dir, true, machine{}, slog.New(slog.NewTextHandler(&log, nil)))
		if len(i.id) != nodeIDLen || !i.fresh || !strings.Contains(log.String(), "cannot be read") {
			t.Errorf("%q: %+v, log %s", text, i, log.String())
		}
		if again := loadIdentity(dir, true, machine{}, discard); again.id != i.id {
			t.Errorf("%q: the new id was not kept", text)
		}
	}
}

func FuzzIdentity(f *testing.F) {
	f.Add([]byte(`{"NodeID":"0123456789abcdef0123456789abcdef","Machine":{"ID":"aa","Board":""}}`))
	f.Add([]byte(`{"NodeID":"0123456789ABCDEF0123456789abcdef"}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		i, err := parseIdentity(data)
		if err == nil && (len(i.NodeID) != nodeIDLen || strings.Trim(i.NodeID, "0123456789abcdef") != "") {
			t.Errorf("%q is taken for an id", i.NodeID)
		}
	})
}
