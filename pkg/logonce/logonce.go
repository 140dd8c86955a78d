// Package logonce keeps a state that lasts from filling the log: a line is due when
// its text changes. It does not log anything itself, so that the line keeps the
// level, the attributes and the place of whoever does.
package logonce

import "time"

// Line is one line of the log, as it was last due. The zero value says nothing was.
// It is not safe for concurrent use.
type Line struct {
	Repeat time.Duration // how long until the same text is due again; zero: forever

	text string
	when time.Time
}

// Changed reports whether the text is due now, and then takes it for logged. The
// empty text stands for a state of which there is nothing to say: it is due once,
// after another one, and never repeated.
func (l *Line) Changed(text string) bool {
	now := time.Now()
	again := l.Repeat > 0 && text != "" && now.Sub(l.when) >= l.Repeat
	if text == l.text && !again {
		return false
	}
	l.text, l.when = text, now
	return true
}

// ChangedError is Changed for the text of an error; nil is the empty text.
func (l *Line) ChangedError(err error) bool {
	if err == nil {
		return l.Changed("")
	}
	return l.Changed(err.Error())
}

// Text returns the text that was last due.
func (l *Line) Text() string { return l.text }
