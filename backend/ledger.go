package backend

import (
	"context"

	"flanneld/pkg/datapath"
)

// Ledger is a Kernel that counts what is changed through it. It is not safe for
// concurrent use.
type Ledger struct {
	Kernel
	changes int
	first   datapath.Op
}

// Do implements datapath.Kernel.
func (l *Ledger) Do(ctx context.Context, ops []datapath.Op) error {
	if l.changes == 0 && len(ops) > 0 {
		l.first = ops[0]
	}
	l.changes += len(ops)
	return l.Kernel.Do(ctx, ops)
}

// take returns how many changes there were since it was last called, and the
// first of them.
func (l *Ledger) take() (changes int, first datapath.Op) {
	changes, first = l.changes, l.first
	l.changes, l.first = 0, datapath.Op{}
	return changes, first
}
