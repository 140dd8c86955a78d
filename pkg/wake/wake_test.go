package wake

import "testing"

func TestManyTokensAreOne(t *testing.T) {
	c := New()
	for range 3 {
		c.Wake()
	}
	<-c
	select {
	case <-c:
		t.Error("a second token was left")
	default:
	}
	c.Wake()
	select {
	case <-c:
	default:
		t.Error("no token was left after the first was taken")
	}
}
