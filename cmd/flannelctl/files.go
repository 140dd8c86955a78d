package main

import (
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"flanneld/cmd/internal/host"
	"flanneld/cmd/internal/status"
	"flanneld/pkg/envfile"
	"flanneld/pkg/smallfile"
	"flanneld/subnet/cache"
	"flanneld/subnet/config"
)

// mostCache bounds the file of what the host knew, in bytes: 10,000 leases have 2.5 MB.
const mostCache = 64 << 20

// unknownLease is the state of a lease of which there are files alone.
const unknownLease = "unknown"

// withoutDaemon says how the host is by what a daemon has left, since none answers.
func (a *asking) withoutDaemon(why string) status.Status {
	nothing := status.Condition{State: status.Waiting}
	s := status.Status{
		Schema: status.Schema, Time: time.Now().Round(0), NotReady: []string{"daemon: " + why},
		Etcd:   status.Etcd{Condition: nothing},
		Config: nothing, Datapath: nothing, Firewall: nothing, SubnetFile: nothing, DockerBridge: nothing, Forwarding: nothing,
	}
	a.readSubnetFile(&s)
	a.readCache(&s)
	s.Text = "flanneld does not answer"
	if s.Lease.Subnet.IsValid() {
		s.Text += "; the last one had " + s.Lease.Subnet.String()
	}
	links, _ := net.Interfaces() // without them nothing is said of a device
	for _, l := range links {
		if strings.HasPrefix(l.Name, "flannel") && l.Flags&net.FlagUp != 0 {
			s.Backend.Device = l.Name
		}
	}
	return s
}

// readSubnetFile takes what Docker was told.
func (a *asking) readSubnetFile(s *status.Status) {
	file := a.places.SubnetFile
	vars, err := envfile.Read(file)
	info, statErr := os.Stat(file)
	if err = errors.Join(err, statErr); err != nil {
		s.SubnetFile = status.Condition{State: status.Failing, Reason: err.Error()}
		if errors.Is(err, fs.ErrNotExist) {
			s.SubnetFile.Reason = "there is no " + file + ", so that Docker was told no subnet"
		}
		return
	}
	e := host.ReadSubnetEnv(file, slog.New(slog.DiscardHandler))
	s.Network.Network, s.Network.NetworkV6 = e.Network, e.NetworkV6
	s.Lease = status.Lease{State: unknownLease, Subnet: e.Subnet, SubnetV6: e.SubnetV6}
	s.Backend.MTU, _ = strconv.Atoi(vars["FLANNEL_MTU"]) // zero: not known
	s.SubnetFile = status.Condition{State: status.OK, Since: info.ModTime().UTC(), Reason: file + " says " + e.String()}
}

// readCache takes what the daemon kept for its next start, which root may read.
func (a *asking) readCache(s *status.Status) {
	data, err := smallfile.Read(filepath.Join(a.places.StateDir, cache.File), mostCache)
	if err != nil {
		return
	}
	known, err := cache.Decode(data)
	if err != nil {
		return
	}
	own := known.Own
	s.Prefix, s.Etcd.API = known.Host.Prefix, known.API
	s.Lease = status.Lease{State: unknownLease, Subnet: own.V4.Subnet, SubnetV6: own.V6.Subnet, PublicIP: own.V4.PublicIP, PublicIPv6: own.V6.PublicIP,
		Node: own.Node, Reserved: own.Reserved(), Renewed: known.Sent.Wall}
	if !own.Reserved() {
		s.Lease.Expires = own.Expires
	}
	s.Network.Leases = 1 + len(known.Peers)
	if cfg, _, err := config.Parse(known.Config.Raw); err == nil {
		s.Backend.Type = cfg.Type
		s.Network.Network, s.Network.SubnetLen = cfg.V4.Network, cfg.V4.SubnetLen
		s.Network.NetworkV6, s.Network.Subnets = cfg.V6.Network, cfg.V4.Subnets()
	}
}
