package engine

import "time"

// limiter allows perSecond events a second on average, and as many at once.
type limiter struct {
	perSecond float64
	tokens    float64
	last      time.Time
}

func (l *limiter) allow(now time.Time) bool {
	l.tokens = min(l.perSecond, l.tokens+now.Sub(l.last).Seconds()*l.perSecond)
	l.last = now
	if l.tokens < 1 {
		return false
	}
	l.tokens--
	return true
}
