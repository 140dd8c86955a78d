package logonce

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestATextIsDueWhenItChanges(t *testing.T) {
	var l Line
	for i, row := range []struct {
		text string
		want bool
	}{
		{"", false}, {"a", true}, {"a", false}, {"b", true}, {"", true}, {"", false}, {"b", true},
	} {
		if got := l.Changed(row.text); got != row.want {
			t.Errorf("%d: Changed(%q) = %v, want %v", i, row.text, got, row.want)
		}
	}
	if l.Text() != "b" {
		t.Errorf("Text() = %q, want b", l.Text())
	}
	if l.ChangedError(errors.New("b")) || !l.ChangedError(nil) {
		t.Error("an error is not its text")
	}
}

func TestATextIsDueAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := Line{Repeat: time.Minute}
		if !l.Changed("a") || l.Changed("a") {
			t.Error("the first time is not once")
		}
		time.Sleep(time.Minute)
		if !l.Changed("a") || l.Changed("a") {
			t.Error("it is not due once a minute")
		}
		if !l.Changed("") {
			t.Error("its end is not due")
		}
		time.Sleep(time.Hour)
		if l.Changed("") {
			t.Error("nothing was repeated")
		}
	})
}
