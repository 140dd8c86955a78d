package logrepeat

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"flanneld/pkg/logtest"
)

func TestRepeatedErrorsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := new(logtest.Buffer)
		log := slog.New(New(out.Logger().Handler()))
		for range 12 {
			log.Error("refused", "by", "etcd")
			log.Info("tried")
			time.Sleep(time.Second)
		}
		log.Error("refused", "by", "the kernel")
		log.With("a", 1).Error("refused", "by", "etcd")
		if got := out.Lines(`msg=refused by=etcd`); got != passing {
			t.Errorf("%d of 12 pass:\n%s", got, out)
		}
		if out.Lines("tried") != 12 || out.Lines("the kernel") != 1 || out.Lines("a=1") != 1 {
			t.Errorf("others do not pass:\n%s", out)
		}
		time.Sleep(time.Minute)
		log.Info("tried")
		if got := out.Lines(`msg="refused (12 times in the last minute)" by=etcd`); got != 1 || out.Lines("times in") != 1 {
			t.Errorf("how often is said %d times:\n%s", got, out)
		}
		// It is over, and what comes then is a first one.
		log.Error("refused", "by", "etcd")
		if got := out.Lines(`msg=refused by=etcd`); got != passing+1 {
			t.Errorf("%d after the minute:\n%s", got, out)
		}
	})
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	out := new(logtest.Buffer)
	h := New(out.Logger().Handler())
	log := slog.New(h)
	for n := range 3 * mostSeen {
		log.Warn(fmt.Sprint("number ", n))
	}
	if got := len(h.(*handler).seen.lines); got != mostSeen || strings.Count(out.String(), "\n") != 3*mostSeen {
		t.Errorf("%d lines are remembered", got)
	}
}
