// Package node decides who this host is among leases: it has an id, whatever address
// it has later, and so keeps its subnet. The package does not know what a lease is, nor
// where the state directory lies.
package node

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"regexp"
	"strings"

	"flanneld/pkg/statedir"
)

// Identity is this host's id. It is not safe for concurrent use.
type Identity struct {
	file
	dir *statedir.Dir
	log *slog.Logger
}

// file is the content of the state directory's file.
type file struct {
	NodeID  string // empty: the host has none yet
	Machine Machine
	Sum     string `json:",omitempty"` // of the others; earlier daemons wrote none
}

func (f file) sum() string {
	return hash("file " + f.NodeID + " " + f.Machine.ID + " " + f.Machine.Board)[:8]
}

// File is the name that the identity has in the state directory.
const File = "node-id"

const (
	idLen   = 32 // hexadecimal digits
	markLen = 16 // likewise
)

// Load reads the id that the host had before. A file that cannot be understood, or is
// another machine's, counts for none.
func Load(d *statedir.Dir, m Machine, log *slog.Logger) *Identity {
	i := &Identity{file: file{Machine: m}, dir: d, log: log}
	data, err := d.Load(File)
	var f file
	if err == nil {
		f, err = parse(data)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		log.Warn("The node id cannot be read; making another", "file", File, "err", err)
	case differ(f.Machine.ID, m.ID) || differ(f.Machine.Board, m.Board):
		log.Warn("The node id in the state directory is another machine's, from which this one was copied; making another",
			"theirs", f.NodeID)
	default:
		i.NodeID = f.NodeID
		if f.Machine != m || f.Sum == "" {
			i.save()
		}
	}
	return i
}

// ID returns the id; empty if the host has none yet.
func (i *Identity) ID() string { return i.NodeID }

// Make gives the host an id if it has none: one that follows from the machine and the
// address at which its peers first know it, so that a host which has lost its state
// directory has its id again. The address tells containers of one machine apart, and
// the clones of an image. The id begins with the machine's mark, if a machine can be told
// for certain.
func (i *Identity) Make(public netip.Addr) string {
	if i.NodeID == "" {
		mark := i.Mark()
		i.NodeID = mark + hash("node " + i.Machine.ID + " " + i.Machine.Board + " " + public.String())[len(mark):idLen]
		i.save()
	}
	return i.NodeID
}

// Mark is what the ids begin with that are made on this machine; empty if not all is known
// of it.
func (i *Identity) Mark() string {
	if i.Machine.ID == "" || i.Machine.Board == "" {
		return ""
	}
	return hash("machine " + i.Machine.ID + " " + i.Machine.Board)[:markLen]
}

// Renew gives the host a random id, since another one uses the present one, and returns
// it.
func (i *Identity) Renew(why error) string {
	i.NodeID = hash("node " + rand.Text())[:idLen]
	i.save()
	i.log.Error("This host has a copy of another's state directory; it goes on as a new node. Make each host its own: "+
		"empty the state directory and /etc/machine-id before copying an image", "node", i.NodeID, "err", why)
	return i.NodeID
}

func (i *Identity) save() {
	i.Sum = i.sum()
	data, err := json.Marshal(i.file)
	if err == nil {
		err = i.dir.Save(File, append(data, '\n'))
	}
	if err != nil {
		i.log.Warn("Cannot save the node id; after a restart the host is known by its machine and its PublicIP", "err", err)
	}
}

var validID = regexp.MustCompile(`^[0-9a-f]{32}$`)

func parse(data []byte) (file, error) {
	var f file
	if err := json.Unmarshal(data, &f); err != nil {
		return f, err
	}
	if !validID.MatchString(f.NodeID) {
		return f, errors.New("it holds no node id")
	}
	if f.Sum != "" && f.Sum != f.sum() {
		return f, errors.New("its checksum is wrong")
	}
	return f, nil
}

// Machine is what an id is bound to: a copied disk is started on another board or, if
// its maker was careful, with another machine-id(5). Both are hashed, since machine-id(5)
// asks to keep it confidential. Empty: not known.
type Machine struct{ ID, Board string }

// ThisMachine reads what the host is told by. The machine-id's path may be empty, which
// stands for the usual one. Others than root cannot read the board's id.
func ThisMachine(machineID string) Machine {
	if machineID == "" {
		machineID = "/etc/machine-id"
	}
	read := func(path string) string {
		text, err := os.ReadFile(path)
		if id := strings.TrimSpace(string(text)); err == nil && id != "" && id != "uninitialized" {
			return hash(id)
		}
		return ""
	}
	return Machine{ID: read(machineID), Board: read("/sys/class/dmi/id/product_uuid")}
}

// differ is false if either is not known.
func differ(a, b string) bool { return a != "" && b != "" && a != b }

func hash(text string) string {
	return fmt.Sprintf("%x", sha256.Sum256([]byte("flanneld\n"+text)))
}
