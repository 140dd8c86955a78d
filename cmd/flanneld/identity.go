package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"strings"

	"flanneld/backend"
)

// identity is how this host is known among leases, whatever address it has.
type identity struct {
	id    string // 32 hexadecimal digits; empty: none
	fresh bool   // there was none before

	state   backend.State
	kept    bool // state outlasts the daemon
	machine machine
}

// machine is what an id is bound to, hashed, since it is nobody else's business: a
// copied disk is started on another board or, if its maker was careful, with
// another machine-id(5). Empty: not known.
type machine struct{ ID, Board string }

// identityFile is the content of the state directory's file.
type identityFile struct {
	NodeID  string
	Machine machine
}

const identityName = "node-id"

// loadIdentity returns the id in the state directory, or makes one. If the state
// is not kept, it is one that this machine will have again.
func loadIdentity(state backend.State, kept bool, m machine, log *slog.Logger) identity {
	i := identity{state: state, kept: kept, machine: m}
	data, err := state.Load(identityName)
	if id := m.nodeID(); err != nil && !kept && id != "" {
		i.id, i.fresh = id, true
		return i
	}
	var f identityFile
	if err == nil {
		f, err = parseIdentity(data)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		i.fresh = true
	case err != nil:
		log.Warn("The node id cannot be read; making another", "file", identityName, "err", err)
		i.fresh = true
	case differs(f.Machine.ID, m.ID) || differs(f.Machine.Board, m.Board):
		log.Warn("The node id in the state directory is another machine's, from which this one was copied; making another",
			"theirs", f.NodeID)
	default:
		i.id = f.NodeID
		if f.Machine != m {
			i.save(log)
		}
		return i
	}
	return i.renewed(log)
}

// renewed returns the identity with a new id, which is saved.
func (i identity) renewed(log *slog.Logger) identity {
	var random [nodeIDLen / 2]byte
	_, _ = rand.Read(random[:]) // never fails
	mark := i.machine.mark()
	i.id = mark + hex.EncodeToString(random[:])[len(mark):]
	i.save(log)
	return i
}

func (i identity) save(log *slog.Logger) {
	data, err := json.Marshal(identityFile{i.id, i.machine})
	if err == nil {
		err = i.state.Save(identityName, append(data, '\n'))
	}
	if err != nil {
		log.Warn("Cannot save the node id; after a restart the host is known by its PublicIP and its subnet file", "err", err)
	}
}

const nodeIDLen = 32

// mark is what the machine's ids begin with: half of their digits, so that a host
// which has lost its state knows what it had written. The rest is random, since
// containers may have one machine-id. Empty: the machine is not known.
func (m machine) mark() string {
	if m.ID == "" {
		return ""
	}
	return hash("machine " + m.ID + m.Board)[:nodeIDLen/2]
}

// nodeID returns the id that the host has while it has no state directory; empty if
// the machine is not known.
func (m machine) nodeID() string {
	if m.ID == "" {
		return ""
	}
	return m.mark() + hash("node " + m.ID + m.Board)[:nodeIDLen/2]
}

var errNodeID = errors.New("it holds no node id")

func parseIdentity(data []byte) (identityFile, error) {
	var f identityFile
	if err := json.Unmarshal(data, &f); err != nil {
		return f, err
	}
	if raw, err := hex.DecodeString(f.NodeID); err != nil || len(raw) != nodeIDLen/2 || f.NodeID != strings.ToLower(f.NodeID) {
		return f, errNodeID
	}
	return f, nil
}

// differs is false if either is not known.
func differs(a, b string) bool { return a != "" && b != "" && a != b }

// thisMachine reads what the host is told by. Others than root cannot read the
// board's id.
func thisMachine(machineID string) machine {
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
	return machine{ID: read(machineID), Board: read("/sys/class/dmi/id/product_uuid")}
}

func hash(text string) string {
	sum := sha256.Sum256([]byte("flanneld\n" + text))
	return hex.EncodeToString(sum[:])
}
