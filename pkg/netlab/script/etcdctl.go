package script

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// translator does by the v3 API what scripts ask etcdctl's commands of the v2 API for: mk,
// set, get, rm and ls, with what those print. All else it passes on.
type translator struct {
	run     func(args ...string) (string, error) // etcdctl with the v3 API
	globals []string                             // flags before the command
}

func (t *translator) do(args []string) (string, error) {
	extended := false
	rest := args
	for len(rest) > 1 && strings.HasPrefix(rest[0], "-") {
		switch rest[0] {
		case "-o":
			extended = rest[1] == "extended"
		case "-u":
			t.globals = append(t.globals, "--user="+rest[1])
		case "--endpoints":
			t.globals = append(t.globals, "--endpoints="+rest[1])
		default:
			return t.run(args...)
		}
		rest = rest[2:]
	}
	command, flags, words := split(rest)
	switch {
	case command == "get" && len(words) == 1 && len(flags) == 0:
		return t.get(words[0], extended)
	case command == "mk" && len(words) == 2:
		if _, err := t.get(words[0], false); err == nil {
			return "", fmt.Errorf("key already exists (%s)", words[0])
		}
		return t.set(words[0], words[1], flags["ttl"])
	case command == "set" && len(words) == 2:
		return t.set(words[0], words[1], flags["ttl"])
	case command == "rm" && len(words) == 1:
		_, recursive := flags["recursive"]
		_, r := flags["r"]
		return t.rm(words[0], recursive || r)
	case command == "ls" && len(words) == 1:
		return t.ls(words[0])
	}
	return t.pass(rest...)
}

// split parts a command's flags, of which --ttl has a value of its own, from its words.
func split(args []string) (command string, flags map[string]string, words []string) {
	flags = make(map[string]string)
	for i := 1; i < len(args); i++ {
		switch arg := args[i]; {
		case arg == "--ttl" && i+1 < len(args):
			i++
			flags["ttl"] = args[i]
		case strings.HasPrefix(arg, "-"):
			flags[strings.TrimLeft(arg, "-")] = ""
		default:
			words = append(words, arg)
		}
	}
	if len(args) > 0 {
		command = args[0]
	}
	return command, flags, words
}

func (t *translator) pass(args ...string) (string, error) {
	return t.run(append(t.globals, args...)...)
}

// rangeAnswer is what `get -w json` prints.
type rangeAnswer struct {
	Header struct{ Revision int64 }
	Kvs    []struct {
		Key, Value []byte
		Lease      int64
	}
}

func (t *translator) get(key string, extended bool) (string, error) {
	out, err := t.pass("get", key, "-w", "json")
	if err != nil {
		return "", err
	}
	var r rangeAnswer
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		return "", err
	}
	if len(r.Kvs) == 0 {
		return "", fmt.Errorf("key not found (%s) [%d]", key, r.Header.Revision)
	}
	value := string(r.Kvs[0].Value) + "\n"
	if !extended {
		return value, nil
	}
	ttl := 0
	if id := r.Kvs[0].Lease; id != 0 {
		if out, err = t.pass("lease", "timetolive", strconv.FormatInt(id, 16)); err != nil {
			return "", err
		}
		if m := remaining.FindStringSubmatch(out); m != nil {
			ttl, _ = strconv.Atoi(m[1])
		}
	}
	return fmt.Sprintf("Key: %s\nTTL: %d\n\n%s", key, ttl, value), nil
}

var (
	granted   = regexp.MustCompile(`^lease ([0-9a-f]+) granted`)
	remaining = regexp.MustCompile(`remaining\((\d+)s\)`)
)

func (t *translator) set(key, value, ttl string) (string, error) {
	args := []string{"put", key, value}
	if ttl != "" && ttl != "0" {
		out, err := t.pass("lease", "grant", ttl)
		if err != nil {
			return "", err
		}
		m := granted.FindStringSubmatch(out)
		if m == nil {
			return "", fmt.Errorf("etcdctl granted no lease: %s", out)
		}
		args = append(args, "--lease="+m[1])
	}
	if _, err := t.pass(args...); err != nil {
		return "", err
	}
	return value + "\n", nil
}

func (t *translator) rm(key string, recursive bool) (string, error) {
	args := []string{"del", key}
	if recursive {
		args = []string{"del", "--prefix", key + "/"}
	}
	out, err := t.pass(args...)
	if err == nil && strings.TrimSpace(out) == "0" {
		err = fmt.Errorf("key not found (%s)", key)
	}
	return "", err
}

func (t *translator) ls(dir string) (string, error) {
	out, err := t.pass("get", "--prefix", "--keys-only", dir+"/")
	if err != nil {
		return "", err
	}
	out = strings.ReplaceAll(out, "\n\n", "\n")
	if out == "" {
		err = fmt.Errorf("key not found (%s)", dir)
	}
	return out, err
}

// revision is etcd's, which every write raises.
func revision(run func(args ...string) (string, error)) (int64, error) {
	out, err := run("get", "none", "-w", "json")
	if err != nil {
		return 0, err
	}
	var r rangeAnswer
	err = json.Unmarshal([]byte(out), &r)
	return r.Header.Revision, err
}
