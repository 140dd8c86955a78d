package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"flanneld/cmd/internal/bundle"
	"flanneld/cmd/internal/doctor"
	"flanneld/cmd/internal/status"
	"flanneld/pkg/datapath/kernel"
	"flanneld/subnet/etcdapi"
)

const debugHelp = `Collect in one file what somebody else needs to see of this host, and list what
is in it: the status, the peers, what doctor says, the journal, the configuration
and the leases in etcd, the kernel's devices, routes and neighbours, the firewall,
kernel settings, files and versions. It changes nothing.

Passwords, tokens, keys, user names in URLs, and variables that are not the daemon's
are left out. Addresses are in it: look through it before you publish it. Run it as
root; else it lacks what it cannot read, and the list says so.

The exit status is 0 if the file was written, even if parts are missing.`

func debugCommand(c *call) *cobra.Command {
	b := &bundling{doctoring: &doctoring{asking: &asking{call: c}}}
	cmd := &cobra.Command{
		Use:     "bundle [--file=FILE]",
		Short:   "Write a file for those who help you, without secrets",
		Long:    debugHelp,
		Example: "  flannelctl debug bundle\n  flannelctl debug bundle --file=/tmp/h1.tar.gz",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return b.run(cmd.Context()) },
	}
	b.flags = cmd.Flags()
	b.flags.StringVar(&b.file, "file", "", "write to `FILE`; without it, to a file in this directory, named after this host and the time")
	places := b.asksDaemon(cmd).PreRunE
	etcd := c.usesEtcd(cmd).PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if err := places(cmd, args); err != nil {
			return err
		}
		return etcd(cmd, args)
	}
	parent := &cobra.Command{Use: "debug", Short: "Help others to find out what is wrong", RunE: groupOf("bundle")}
	parent.AddCommand(cmd)
	return parent
}

// bundling is one call of the command.
type bundling struct {
	*doctoring
	file string
}

// bundled is the JSON form.
type bundled struct {
	Schema   int           `json:"schema"`
	File     string        `json:"file"`
	Bytes    int64         `json:"bytes"`
	Contents []bundle.Item `json:"contents"`
}

func (b *bundling) run(ctx context.Context) error {
	h, closed := b.looked(ctx)
	defer closed()
	name, err := b.name()
	if err != nil {
		return failure{err, "give --file"}
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return failure{err, "give another --file"}
	}
	redact := h.Redactor()
	dir := "flannel-debug"
	items, err := bundle.Write(ctx, f, dir, append(b.texts(h), h.Entries(redact)...), redact)
	info, statErr := f.Stat()
	if err = errors.Join(err, statErr, f.Close()); err != nil {
		_ = os.Remove(name) // half of one
		return failure{err, ""}
	}
	if b.output == "json" {
		err = b.printJSON(bundled{schema, name, info.Size(), items})
	} else {
		err = b.list(name, info.Size(), items)
	}
	if err != nil {
		return failure{err, ""}
	}
	return nil
}

// name returns that of the file.
func (b *bundling) name() (string, error) {
	if b.file != "" {
		return b.file, nil
	}
	host, err := os.Hostname()
	return fmt.Sprintf("flannel-debug-%s-%s.tar.gz", filepath.Base(host), time.Now().UTC().Format("20060102T150405Z")), err
}

// looked finds out about the daemon what can be found out: whatever is wrong with it, there
// is to be a file.
func (b *bundling) looked(ctx context.Context) (h *bundle.Host, closed func()) {
	s, err := b.ask(ctx, status.MostPeers)
	if err != nil {
		s = b.withoutDaemon(err.Error())
	}
	h = &bundle.Host{Root: "/", Status: s, Kernel: kernel.Kernel{}}
	h.Args, h.Environ, _ = doctor.StartedWith(s, b.env)
	closed = func() {}
	if h.Options, _, err = b.daemonOptions(s); err != nil {
		h.Options, h.StoreErr = b.places, fmt.Errorf("the daemon's options cannot be read: %w", err)
		return h, closed
	}
	choice, err := openChoice(ctx, h.Options.Etcd, etcdapi.API(s.Etcd.API), b.quiet())
	if h.StoreErr = err; err == nil {
		h.Store, closed = choice, choice.Close
	}
	return h, closed
}

// texts are what other commands say.
func (b *bundling) texts(h *bundle.Host) []bundle.Entry {
	return []bundle.Entry{
		{Name: "version.txt", Read: func(context.Context) (string, error) {
			return fmt.Sprintf("flannelctl %s\nflanneld   %s\n", version, h.Status.Version), nil
		}},
		{Name: "status.txt", Read: func(context.Context) (string, error) {
			var out bytes.Buffer
			err := printStatus(&out, h.Status)
			return out.String(), err
		}},
		{Name: "peers.txt", Read: func(context.Context) (string, error) { return string(peerTable(h.Status)), nil }},
		{Name: "doctor.txt", Read: b.consult},
	}
}

// consult returns what doctor prints.
func (b *bundling) consult(ctx context.Context) (string, error) {
	var out bytes.Buffer
	c := *b.call
	c.stdout, c.output = &out, "text"
	d := &doctoring{asking: &asking{call: &c, places: b.places}, flags: b.flags}
	err := d.run(ctx, nil)
	if errors.Is(err, errNotWell) {
		err = nil
	}
	return out.String(), err
}

func (b *bundling) list(name string, size int64, items []bundle.Item) error {
	w := new(bytes.Buffer)
	fmt.Fprintf(w, "%9s  NAME\n", "BYTES")
	for _, i := range items {
		fmt.Fprintln(w, plain(i.String()))
	}
	fmt.Fprintf(w, "%s: %d bytes, without passwords, tokens, keys and variables that are not the daemon's\n", plain(name), size)
	_, err := b.stdout.Write(w.Bytes())
	return err
}
