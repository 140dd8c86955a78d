package chaos

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// call is the input of an operation on one key, and got what came of it.
type input struct {
	kind  kind
	value string // written, or demanded
	was   string // of a renewal: what it writes over
}
type got struct {
	done  outcome
	value string // that was read; empty if the key was absent
}

// register is one key: its state is the value, empty if it is absent. A state has no
// revision, so a condition on one is modelled as one on the value. Whether a host may
// write over what it has read there is not asked here, but by judge.
//
// A creation whose answer was lost may be done, and seen by others, and then be
// made again: the store finds the host's own value and says that it is done.
var register = porcupine.NondeterministicModel{
	Init: func() []any { return []any{""} },
	Step: func(state, in, out any) []any {
		s, i, g := state.(string), in.(input), out.(got)
		as := func(may bool, next string) []any {
			if may {
				return []any{next}
			}
			return nil
		}
		// An operation whose outcome is unknown is done at any later time or never.
		either := func(may bool, next string) []any {
			if may && next != s {
				return []any{s, next}
			}
			return []any{s}
		}
		switch i.kind {
		case list:
			return as(s == g.value, s)
		case expiry:
			return as(s != "", "")
		}
		var may bool
		next := i.value
		switch i.kind {
		case create:
			may = s == "" || s == i.value
		case renew: // or an earlier try has done it
			may = s == i.was || s == i.value
		case refresh:
			may = s == i.value
		case remove:
			may, next = s != "", ""
		}
		switch g.done {
		case ok:
			// A delete of what is gone is done.
			return as(may || i.kind == remove, next)
		case taken:
			return as(s != "", s)
		case lost:
			return as(i.kind == remove || i.kind == renew || s != i.value, s)
		}
		return either(may, next)
	},
	Equal: func(a, b any) bool { return a == b },
	DescribeOperation: func(in, out any) string {
		return fmt.Sprintf("%+v: %+v", in, out)
	},
}

const expiry kind = "expire"

// operations turns notes and expiries into operations, by key.
func operations(events []event, notes []note) map[string][]porcupine.Operation {
	last := make(map[string]note) // by host and number: a call is noted twice
	hosts := make(map[string]int)
	keys := make(map[string]bool)
	for _, n := range notes {
		if n.ID == "" {
			continue
		}
		if _, ok := hosts[n.Host]; !ok {
			hosts[n.Host] = len(hosts)
		}
		last[n.Host+" "+n.ID] = n
		for key := range n.All {
			keys[key] = true
		}
		if n.Key != "" {
			keys[n.Key] = true
		}
	}
	ops := make(map[string][]porcupine.Operation)
	for _, n := range last {
		op := porcupine.Operation{ClientId: hosts[n.Host], Call: int64(n.Call), Return: int64(n.At)}
		switch {
		case n.Kind != list && n.Done == unknown:
			if at, ok := done(events, n); ok {
				op.Input, op.Output, op.Return = input{n.Kind, n.Value, n.Was}, got{done: unknown}, int64(at)
				ops[n.Key] = append(ops[n.Key], op)
			}
		case n.Kind != list:
			op.Input, op.Output = input{n.Kind, n.Value, n.Was}, got{done: n.Done}
			ops[n.Key] = append(ops[n.Key], op)
		case n.Done == ok:
			for key := range keys {
				op.Input, op.Output = input{kind: list}, got{value: n.All[key]}
				ops[key] = append(ops[key], op)
			}
		}
	}
	for _, e := range events {
		if e.Action == "expire" && keys[e.lease()] {
			begun := e.Begun
			if begun == 0 {
				begun = min(e.Seen, now().of(*e.PrevNode.Expiration).add(-time.Second))
			}
			ops[e.lease()] = append(ops[e.lease()], porcupine.Operation{
				ClientId: len(hosts), Call: int64(begun), Return: int64(e.Seen), Input: input{kind: expiry}, Output: got{done: ok},
			})
		}
	}
	return ops
}

// done returns by when a call was done if it was, whose outcome its host does not know:
// the history says what may be its work. Without that there would be too many ways to
// look through. A renewal that changes no value may be left out.
func done(events []event, n note) (by moment, may bool) {
	for _, e := range events {
		if e.lease() != n.Key || e.Seen < n.Call {
			continue
		}
		wrote := n.Kind == create && e.Action == "create" || n.Kind == renew && n.Was != n.Value && e.Action == "compareAndSwap"
		if wrote && e.Node.Value == n.Value || n.Kind == remove && e.Action == "delete" {
			by, may = max(by, e.Seen), true
		}
	}
	return by, may
}

// linearizable checks each key's operations. It returns how many there are, and
// those of the keys that fail the test.
func linearizable(t testing.TB, events []event, notes []note) (count int, bad map[string][]porcupine.Operation) {
	t.Helper()
	ops := operations(events, notes)
	model := register.ToModel()
	bad = make(map[string][]porcupine.Operation)
	for _, key := range slices.Sorted(maps.Keys(ops)) {
		count += len(ops[key])
		switch result := porcupine.CheckOperationsTimeout(model, ops[key], time.Minute); result {
		case porcupine.Ok:
			continue
		case porcupine.Illegal:
			t.Errorf("%s: %d operations are not linearizable", key, len(ops[key]))
		default:
			t.Errorf("%s: %d operations cannot be checked in time", key, len(ops[key]))
		}
		bad[key] = ops[key]
	}
	return count, bad
}

// draw leaves a picture of the operations in dir.
func draw(t testing.TB, dir, key string, ops []porcupine.Operation) {
	t.Helper()
	model := register.ToModel()
	_, info := porcupine.CheckOperationsVerbose(model, ops, time.Minute)
	f, err := os.Create(filepath.Join(dir, key+".html"))
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	if err := porcupine.Visualize(model, info, f); err != nil {
		t.Error(err)
	}
}
