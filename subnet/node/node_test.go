package node

import (
	"bytes"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"flanneld/pkg/statedir"
)

var (
	discard  = slog.New(slog.DiscardHandler)
	publicIP = netip.MustParseAddr("192.0.2.1")
)

func load(d *statedir.Dir, m Machine, log *slog.Logger) string { return Load(d, m, log).Make(publicIP) }

func TestIdentityIsBoundToItsMachine(t *testing.T) {
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	a, b := Machine{ID: hash("a"), Board: hash("x")}, Machine{ID: hash("b"), Board: hash("x")}
	state := statedir.Memory()
	if id := Load(state, a, logger).ID(); id != "" {
		t.Errorf("a new host has the id %q", id)
	}
	first := load(state, a, logger)
	if len(first) != idLen {
		t.Fatalf("first id: %q", first)
	}
	for _, m := range []Machine{a, {ID: a.ID}, {Board: a.Board}, {}, a} {
		if again := Load(state, m, logger).ID(); again != first {
			t.Errorf("on %+v it is %q; want %q", m, again, first)
		}
	}
	if log.String() != "" {
		t.Errorf("logged: %s", log.String())
	}
	for _, m := range []Machine{b, {ID: b.ID, Board: hash("y")}} {
		copied := load(state, m, logger)
		if copied == first || len(copied) != idLen {
			t.Errorf("a copy on %+v has the id %q", m, copied)
		}
		if again := load(state, m, logger); again != copied {
			t.Errorf("the copy's id changes from %q to %q", copied, again)
		}
		first = copied
	}
	if n := strings.Count(log.String(), "another machine's"); n != 2 {
		t.Errorf("%d lines about copies: %s", n, log.String())
	}
}

// A state directory that is lost, or cannot be written, changes nothing.
func TestIdentityOutlivesADirectoryThatCannotBeWritten(t *testing.T) {
	m := Machine{ID: hash("a")}
	first, second := load(statedir.Memory(), m, discard), load(statedir.Memory(), m, discard)
	if len(first) != idLen || first != second || strings.Contains(m.ID, first) {
		t.Errorf("ids %q and %q", first, second)
	}
	if other := load(statedir.Memory(), Machine{ID: hash("b")}, discard); other == first {
		t.Error("two machines have one id")
	}
	if none := load(statedir.Memory(), Machine{}, discard); len(none) != idLen {
		t.Errorf("on an unknown machine the id is %q", none)
	}
}

// Containers have one machine-id, and so have the clones of an image.
func TestHostsOfOneMachineHaveIDsOfTheirOwn(t *testing.T) {
	m := Machine{ID: hash("a"), Board: hash("x")}
	first, second := Load(statedir.Memory(), m, discard), Load(statedir.Memory(), m, discard)
	if a, b := first.Make(publicIP), second.Make(publicIP.Next()); a == b {
		t.Errorf("both have the id %q", a)
	}
	if other := load(statedir.Memory(), Machine{ID: m.ID, Board: hash("y")}, discard); other == first.ID() {
		t.Error("two boards have one id")
	}
}

func TestIDsOfOneMachineBeginWithItsMark(t *testing.T) {
	m := Machine{ID: hash("a"), Board: hash("x")}
	mark := Load(statedir.Memory(), m, discard).Mark()
	for _, public := range []netip.Addr{publicIP, publicIP.Next()} {
		if id := Load(statedir.Memory(), m, discard).Make(public); len(mark) != markLen || len(id) != idLen || !strings.HasPrefix(id, mark) {
			t.Errorf("the mark is %q, and an id %q", mark, id)
		}
	}
	i := Load(statedir.Memory(), m, discard)
	i.Make(publicIP)
	if id := i.Renew(nil); strings.HasPrefix(id, mark) {
		t.Errorf("a random id begins with the mark: %q", id)
	}
	for _, unsure := range []Machine{{}, {ID: m.ID}, {Board: m.Board}} {
		if got := Load(statedir.Memory(), unsure, discard).Mark(); got != "" {
			t.Errorf("%+v has the mark %q", unsure, got)
		}
	}
}

func TestIdentityStaysWhenTheAddressChanges(t *testing.T) {
	state := statedir.Memory()
	first := load(state, Machine{ID: hash("a")}, discard)
	if again := Load(state, Machine{ID: hash("a")}, discard).Make(publicIP.Next()); again != first {
		t.Errorf("ids %q and %q", first, again)
	}
}

// Earlier daemons made ids at random.
func TestIdentityThatIsKeptStays(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef"
	state := statedir.Memory()
	if err := state.Save(File, []byte(`{"NodeID":"`+id+`","Machine":{"ID":"`+hash("a")+`","Board":""}}`)); err != nil {
		t.Fatal(err)
	}
	if got := load(state, Machine{ID: hash("a"), Board: hash("x")}, discard); got != id {
		t.Errorf("the id is %q", got)
	}
}

func TestRenewMakesAnIDThatStays(t *testing.T) {
	state, m := statedir.Memory(), Machine{ID: hash("a")}
	i := Load(state, m, discard)
	made := i.Make(publicIP)
	renewed := i.Renew(nil)
	if renewed == made || len(renewed) != idLen || i.ID() != renewed || i.Make(publicIP) != renewed {
		t.Errorf("the id was %q and is %q, %q", made, renewed, i.ID())
	}
	if again := load(state, m, discard); again != renewed {
		t.Errorf("after a restart it is %q, want %q", again, renewed)
	}
	if twice := i.Renew(nil); twice == renewed {
		t.Error("renewed twice it is the same")
	}
}

func TestIdentityThatIsDamagedIsMadeAnew(t *testing.T) {
	dir, err := statedir.Open(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "{", `{"NodeID":""}`, `{"NodeID":"../../../../../../../../../../x"}`, `{"NodeID":"ABCDEF0123456789ABCDEF0123456789"}`, "\x00",
		`{"NodeID":"0123456789abcdef0123456789abcdee","Machine":{"ID":"","Board":""},"Sum":"` + file{NodeID: "0123456789abcdef0123456789abcdef"}.sum() + `"}`} {
		if err := dir.Save(File, []byte(text)); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		i := Load(dir, Machine{}, slog.New(slog.NewTextHandler(&log, nil)))
		if i.ID() != "" || len(i.Make(publicIP)) != idLen || !strings.Contains(log.String(), "cannot be read") {
			t.Errorf("%q: %+v, log %s", text, i, log.String())
		}
		if again := Load(dir, Machine{}, discard); again.ID() != i.ID() {
			t.Errorf("%q: the new id was not kept", text)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"NodeID":"0123456789abcdef0123456789abcdef","Machine":{"ID":"aa","Board":""}}`))
	f.Add([]byte(`{"NodeID":"0123456789ABCDEF0123456789abcdef"}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		i, err := parse(data)
		if err == nil && (len(i.NodeID) != idLen || strings.Trim(i.NodeID, "0123456789abcdef") != "") {
			t.Errorf("%q is taken for an id", i.NodeID)
		}
	})
}
