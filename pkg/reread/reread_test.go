package reread

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestValueFollowsItsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("one")
	synctest.Test(t, func(t *testing.T) {
		var got []string
		v, err := Open([]string{path, ""}, func(files []string) (string, error) {
			if files[0] == "bad" {
				return "", errors.New("it is bad")
			}
			return files[0] + files[1], nil
		}, func(value string, changed bool, err error) {
			if changed {
				got = append(got, value)
			}
			if err != nil {
				got = append(got, err.Error())
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"one", "bad", "bad", "two", "bad", "two"} {
			write(text)
			before := v.value
			if now := v.Get(); now != before {
				t.Errorf("%q is read at once", now)
			}
			time.Sleep(every)
			v.Get()
		}
		write("three")
		v.Look()
		want := []string{"it is bad", "two", "it is bad", "three"}
		if !slices.Equal(got, want) || v.Get() != "three" {
			t.Errorf("told %q, want %q; the value is %q", got, want, v.Get())
		}
	})
}
