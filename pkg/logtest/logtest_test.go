package logtest

import (
	"sync"
	"testing"
)

func TestABufferIsReadWhileItIsWritten(t *testing.T) {
	var b Buffer
	log := b.Logger()
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			for range 100 {
				log.Info("one", "two", 2)
				_ = b.String()
			}
		})
	}
	writers.Wait()
	if n := b.Lines("one two=2"); n != 400 {
		t.Errorf("%d lines of 400", n)
	}
	if n := b.Lines("three"); n != 0 {
		t.Errorf("%d lines with what nobody wrote", n)
	}
}
