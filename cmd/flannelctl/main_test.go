package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"flanneld/pkg/logtest"
	"flanneld/subnet/mirror"
	etcdproc "flanneld/subnet/storetest/etcd"
)

// run calls the program, and returns what it prints and its exit status.
func run(t testing.TB, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, errs bytes.Buffer
	status = program(t.Context(), args, nil, &out, &errs)
	if slices.Contains(args, "json") && args[0] != "watch" { // whose events are those of a status
		for d := json.NewDecoder(bytes.NewReader(out.Bytes())); d.More(); {
			var object struct{ Schema int }
			if err := d.Decode(&object); err != nil || object.Schema != 1 {
				t.Errorf("%q: the schema of what it prints is %d, %v", args, object.Schema, err)
				break
			}
		}
	}
	return out.String(), errs.String(), status
}

func TestMistakesOnTheCommandLine(t *testing.T) {
	for _, tt := range []struct{ name, args, what, hint string }{
		{"a command that there is not", "upgrade", `unknown command "upgrade"`, "lists the commands"},
		{"a misspelt command", "peer", `unknown command "peer"`, "did you mean flannelctl peers?"},
		{"another", "leases list", `unknown command "leases"`, "did you mean flannelctl lease?"},
		{"a command of commands", "debug", "flannelctl debug needs a command", "give bundle"},
		{"another such", "config", "flannelctl config needs a command", "give show, check or set"},
		{"what such one has not", "debug bundel", `invalid value "bundel" for flannelctl debug`, "give bundle"},
		{"a flag that there is not", "migrate --form v2", "unknown flag --form", "did you mean --from?"},
		{"no direction", "migrate", "--from or --to is missing", "--from v2 --to v3"},
		{"another API", "migrate --from v1 --to v3", `invalid value "v1" for --from`, "--from v2 --to v3"},
		{"the same API", "migrate --from v2 --to v2", "the same", "--from v2 --to v3"},
		{"an endpoint without a scheme", "migrate --from v2 --to v3 --etcd-endpoints=10.0.0.1:2379", `invalid endpoint "10.0.0.1:2379" in --etcd-endpoints`, "http://10.0.0.1:2379"},
		{"the other's endpoint without a scheme", "migrate --from v2 --to v3 --to-etcd-endpoints=10.0.0.1:2379", `in --to-etcd-endpoints`, "http://10.0.0.1:2379"},
		{"an output that there is not", "migrate --from v2 --to v3 -o yaml", `invalid value "yaml" for --output`, "text or json"},
		{"a wait that is none", "status --wait=soon", `invalid value "soon" for --wait`, "write --wait=DURATION"},
		{"an argument", "migrate v2 v3", `unknown command "v2"`, "lists the commands"},
		{"half of a certificate", "migrate --from v2 --to v3 --etcd-certfile=/c", "--etcd-certfile is given without --etcd-keyfile", "needs both"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, errs, status := run(t, strings.Fields(tt.args)...)
			what, hint, _ := strings.Cut(errs, "\nhint: ")
			if status != exitUsage || out != "" || !strings.HasPrefix(what, "error: ") || !strings.Contains(what, tt.what) || !strings.Contains(hint, tt.hint) {
				t.Errorf("status %d, %q, %q", status, out, errs)
			}
		})
	}
}

func TestHelpAndVersion(t *testing.T) {
	for args, want := range map[string]string{
		"--version": "dev\ncommit unknown, go", "--help": "migrate", "migrate --help": "--etcd-endpoints URLS", "completion bash": "__start_flannelctl",
		"__complete migrate --from v": "v3",
		"__complete s":                "status\t", "__complete p": "peers\t", "__complete v": "version\t", "__complete status --b": "--brief", "status --help": "--status-socket",
	} {
		if out, _, status := run(t, strings.Fields(args)...); status != exitDone || !strings.Contains(out, want) {
			t.Errorf("%s: status %d, %q", args, status, out)
		}
	}
}

// What a log line has in brackets is the hint of a command.
func TestErrorsOfEtcdHaveAHint(t *testing.T) {
	for args, hint := range map[string]string{
		"lease list --etcd-endpoints=http://127.0.0.1:1":                           "check that etcd runs there and listens on this address",
		"config show --etcd-endpoints=http://127.0.0.1:1 --etcd-api=v3":            "check that etcd runs there and listens on this address",
		"lease list --etcd-endpoints=https://127.0.0.1:1 --etcd-cafile=/nowhere":   "check --etcd-cafile",
		"migrate --from=v2 --to=v3 --etcd-endpoints=http://127.0.0.1:1":            "check that etcd runs there and listens on this address",
		"lease show 10.5.1.0/24 --etcd-endpoints=http://127.0.0.1:1 --etcd-api=v2": "check that etcd runs there and listens on this address",
	} {
		out, errs, status := run(t, strings.Fields(args)...)
		if status != exitFailed || out != "" || !strings.HasPrefix(errs, "error: ") || !strings.HasSuffix(errs, "\nhint: "+hint+"\n") || strings.Contains(errs, "(") {
			t.Errorf("%s: status %d, %q, %q", args, status, errs, out)
		}
	}
	for _, text := range []string{"", "there is no lease (node n7)", "a (check it) b", "(check it)"} {
		if what, hint := withRemedy(text); what != text || hint != "" {
			t.Errorf("%q: %q, %q", text, what, hint)
		}
	}
}

func TestHelpShowsNoEmptyDefault(t *testing.T) {
	for _, cmd := range []string{"status", "lease list", "doctor", "cleanup", "config set", "debug bundle", "migrate", "peers", "watch"} {
		if out, _, status := run(t, append(strings.Fields(cmd), "--help")...); status != exitDone || strings.Contains(out, "(default )") {
			t.Errorf("%s --help: status %d\n%s", cmd, status, out)
		}
	}
}

// etcd is one with an API v2 that has a configuration and two leases.
func etcd(t *testing.T) (url string) {
	url = etcdproc.Start(t)
	put(t, url, "config", `{"Network": "10.5.0.0/16"}`, "")
	put(t, url, "subnets/10.5.1.0-24", `{"PublicIP":"192.0.2.1"}`, "80000")
	put(t, url, "subnets/10.5.2.0-24", `{"PublicIP":"192.0.2.2","NodeID":"n2"}`, "")
	return url
}

func put(t *testing.T, etcd, key, value, ttl string) {
	t.Helper()
	form := url.Values{"value": {value}}
	if ttl != "" {
		form.Set("ttl", ttl)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, etcd+"/v2/keys/coreos.com/network/"+key, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
}

// put3 writes a key through the v3 API, as a host does that has an original there.
func put3(t *testing.T, etcd, key, value string) {
	t.Helper()
	body, _ := json.Marshal(map[string][]byte{"key": []byte("/coreos.com/network/" + key), "value": []byte(value)}) // it does not fail
	answer, err := http.Post(etcd+"/v3/kv/put", "application/json", bytes.NewReader(body))
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatal(answer, err)
	}
	_ = answer.Body.Close()
}

func TestMigrateStopsAtAConflict(t *testing.T) {
	url := etcd(t)
	put3(t, url, "subnets/10.5.1.0-24", `{"PublicIP":"192.0.2.7","NodeID":"n7"}`)
	args := []string{"migrate", "--etcd-endpoints=" + url, "--from=v2", "--to=v3"}
	for _, more := range [][]string{nil, {"--yes"}} {
		out, errs, status := run(t, append(args, more...)...)
		if status != exitFailed || !strings.Contains(out, "conflict: 10.5.1.0/24 is leased to 192.0.2.1 on v2 and to 192.0.2.7 (node n7) on v3\nhint: ") ||
			!strings.HasPrefix(errs, "error: 1 conflict: nothing is copied") {
			t.Errorf("%q: status %d, %q\n%s", more, status, errs, out)
		}
	}
	if out, _, status := run(t, append(args, "-o", "json")...); status != exitFailed || !strings.Contains(out, `"conflict": true`) {
		t.Errorf("status %d\n%s", status, out)
	}
	put3(t, url, "subnets/10.5.1.0-24", `{"PublicIP":"192.0.2.1","NodeID":"n1"}`) // it has moved
	if out, errs, status := run(t, append(args, "--yes")...); status != exitDone || !strings.Contains(out, "1 lease copied to v3, 1 as they were") {
		t.Errorf("settled: status %d, %q\n%s", status, errs, out)
	}
}

func TestMigrateCopiesOnce(t *testing.T) {
	url := etcd(t)
	migrate := func(more ...string) (string, string, int) {
		return run(t, append([]string{"migrate", "--etcd-endpoints=" + url, "--from=v2", "--to=v3"}, more...)...)
	}
	const table = `SUBNET       HOST                 TO  ACTION  COPY LIVES
10.5.1.0/24  192.0.2.1            v3  copy    22h13m0s
10.5.2.0/24  192.0.2.2 (node n2)  v3  copy    for ever
`
	for range 2 { // a dry run changes nothing
		out, errs, status := migrate()
		if want := "configuration: to be copied to v3\n" + table + "2 leases to be copied, 0 there already; nothing was written\nhint: run it again with --yes\n"; out != want || errs != "" || status != exitDone {
			t.Errorf("status %d, %q, and it prints\n%s\nwant\n%s", status, errs, out, want)
		}
	}
	out, errs, status := migrate("--yes", "-o", "json")
	var p planned
	if err := json.Unmarshal([]byte(out), &p); err != nil || status != exitDone || p.Written != 2 || len(p.Leases) != 2 || p.Leases[1].Reserved != true || p.Config != mirror.Copy || p.DryRun {
		t.Errorf("status %d, %q: %v\n%s", status, errs, err, out)
	}
	if out, errs, status = migrate("--yes"); status != exitDone || !strings.Contains(out, "0 leases copied to v3, 2 as they were") {
		t.Errorf("again: status %d, %q\n%s", status, errs, out)
	}
	if out, errs, status = migrate(); status != exitDone || !strings.HasSuffix(out, "0 leases to be copied, 2 there already; nothing was written\n") {
		t.Errorf("what would be done again: status %d, %q\n%s", status, errs, out)
	}
	if out, errs, status = migrate("--mirror"); status != exitDone || !strings.HasSuffix(out, "hint: run it again with --yes\n") {
		t.Errorf("what a mirror would do first: status %d, %q\n%s", status, errs, out)
	}
	put(t, url, "subnets/10.5.2.0-24", `{"PublicIP":"192.0.2.9","NodeID":"n9"}`, "")
	put(t, url, "subnets/10.5.3.0-24", `{"PublicIP":"192.0.2.3"}`, "60")
	if out, errs, status = migrate("--yes"); status != exitDone || !strings.Contains(out, "update") || !strings.Contains(out, "2h0m0s") {
		t.Errorf("after changes: status %d, %q\n%s", status, errs, out)
	}
	back := []string{"migrate", "--etcd-endpoints=" + url, "--from=v3", "--to=v2"}
	if out, errs, status = run(t, back...); status != exitDone || !strings.Contains(out, "0 leases to be copied") {
		t.Errorf("back: status %d, %q\n%s", status, errs, out)
	}
}

func TestMigrateRefusesWhatWouldHarm(t *testing.T) {
	url := etcd(t)
	other := etcdproc.Start(t)
	put(t, other, "subnets/10.5.1.0-24", `{"PublicIP":"192.0.2.7"}`, "")
	args := []string{"migrate", "--etcd-endpoints=" + other, "--from=v2", "--to=v3", "--yes"}
	_, errs, status := run(t, args...)
	if status != exitFailed || !strings.Contains(errs, "error: configuration: v2 has none") || !strings.Contains(errs, "hint: check --etcd-prefix") {
		t.Errorf("status %d, %q", status, errs)
	}
	put(t, other, "config", `{"Network": "10.5.0.0/16"}`, "")
	args = append(args, "--to-etcd-endpoints="+url)
	if _, errs, status = run(t, "migrate", "--etcd-endpoints="+url, "--from=v2", "--to=v3", "--yes"); status != exitDone {
		t.Fatalf("status %d, %q", status, errs)
	}
	// The lease in the other etcd is a copy, which gives way; once its host has it, it does not.
	ctl := "--etcd-endpoints=" + url
	if _, errs, status = run(t, "migrate", ctl, "--to-etcd-endpoints="+other, "--from=v3", "--to=v2", "--yes"); status != exitDone {
		t.Errorf("only copies: status %d, %q", status, errs)
	}
	out, errs, status := run(t, args...)
	if status != exitDone || !strings.Contains(out, "update") {
		t.Errorf("over a copy: status %d, %q\n%s", status, errs, out)
	}
	put(t, other, "config", `{"Network": "10.6.0.0/16"}`, "")
	_, errs, status = run(t, args...)
	if status != exitFailed || !strings.Contains(errs, "v3 has another one than v2: Network 10.6.0.0/16 -> 10.5.0.0/16") || !strings.Contains(errs, "hint: write one document to both") {
		t.Errorf("another configuration: status %d, %q", status, errs)
	}
}

// What was copied before an error is said, and nothing that was not.
func TestMigrateFailsInTheMiddle(t *testing.T) {
	url := etcdproc.StartProc(t, "--quota-backend-bytes=1").URL // no room for what v3 is to have
	put(t, url, "config", `{"Network": "10.5.0.0/16"}`, "")
	put(t, url, "subnets/10.5.1.0-24", `{"PublicIP":"192.0.2.1"}`, "80000")
	out, errs, status := run(t, "migrate", "--etcd-endpoints="+url, "--from=v2", "--to=v3", "--yes")
	if status != exitFailed || !strings.Contains(errs, "space exceeded") || !strings.HasSuffix(out, "copy    22h13m0s\n") {
		t.Errorf("status %d, %q\n%s", status, errs, out)
	}
	var printed bytes.Buffer
	m := migration{call: &call{stdout: &printed}, to: "v3", yes: true}
	p := mirror.Plan{Items: []mirror.Item{{Do: mirror.Copy}, {Do: mirror.Update}, {Do: mirror.Keep}}}
	if err := m.printPlan(p, 1, false); err != nil || !strings.HasSuffix(printed.String(), "\n1 of 2 leases copied to v3\n") {
		t.Errorf("%v, it prints\n%s", err, &printed)
	}
}

// What cannot be printed is not taken for done.
func TestAFullDiskIsAFailure(t *testing.T) {
	url := etcd(t)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	for _, more := range [][]string{nil, {"-o", "json"}, {"--yes", "--mirror"}, {"--yes", "--mirror", "-o", "json"}} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second) // ends a mirror
		var errs bytes.Buffer
		status := program(ctx, append([]string{"migrate", "--etcd-endpoints=" + url, "--from=v2", "--to=v3"}, more...), nil, full, &errs)
		if cancel(); status != exitFailed || !strings.Contains(errs.String(), "error: write /dev/full: no space left on device") {
			t.Errorf("%q: status %d, %q", more, status, errs.String())
		}
	}
}

func TestMigrateSaysThatEtcdIsAway(t *testing.T) {
	_, errs, status := run(t, "migrate", "--etcd-endpoints=http://127.0.0.1:1", "--from=v2", "--to=v3")
	if status != exitFailed || !strings.Contains(errs, "connection refused") {
		t.Errorf("status %d, %q", status, errs)
	}
}

// A mirror says at its end what stands where.
func TestMigrateMirrors(t *testing.T) {
	url := etcd(t)
	for i, format := range []string{"text", "json"} {
		ctx, cancel := context.WithCancel(t.Context())
		var out bytes.Buffer
		var log logtest.Buffer
		hosts := 3 + i // what is copied last shows that this mirror is in step, and not the one before
		ended := make(chan int, 1)
		go func() {
			ended <- program(ctx, []string{"migrate", "--etcd-endpoints=" + url, "--from=v2", "--to=v3", "--mirror", "--yes", "-o", format}, nil, &out, io.MultiWriter(&log, t.Output()))
		}()
		put(t, url, fmt.Sprintf("subnets/10.5.%d.0-24", hosts), fmt.Sprintf(`{"PublicIP":"192.0.2.%d"}`, hosts), "80000")
		for until := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			now, errs, _ := run(t, "migrate", "--etcd-endpoints="+url, "--from=v2", "--to=v3", "-o", "json")
			var p planned
			if err := json.Unmarshal([]byte(now), &p); err == nil && len(p.Leases) == hosts && p.Leases[0].Action == mirror.Keep && p.Leases[hosts-1].Action == mirror.Keep {
				break
			}
			if time.Now().After(until) {
				t.Fatalf("%q\n%s", errs, now)
			}
		}
		cancel()
		if status := <-ended; status != exitDone {
			t.Errorf("status %d", status)
		}
		want := "v2: 3 hosts, 0 copies of v3\n  10.5.1.0/24  192.0.2.1\n  10.5.2.0/24  192.0.2.2 (node n2), reserved\n"
		if format == "json" {
			var r mirror.Report
			if err := json.Unmarshal(out.Bytes(), &r); err != nil || len(r.Sides) != 2 || len(r.Sides[0].Hosts) != hosts || r.Sides[1].Copies != hosts {
				t.Errorf("%v\n%s", err, out.String())
			}
		} else if !strings.Contains(out.String(), want) || !strings.Contains(out.String(), "v3: 0 hosts, 3 copies of v2, the first of which ends at ") {
			t.Errorf("it prints\n%s", out.String())
		}
	}
}
