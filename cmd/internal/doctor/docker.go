package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"flanneld/cmd/internal/host"
	"flanneld/pkg/smallfile"
)

func lookBridge(_ context.Context, h *Host) Result {
	bridge := h.Options.DockerBridge
	if bridge == "" {
		return skip("no bridge is to be checked (--docker-bridge=)")
	}
	p, err := host.CheckBridge(bridge, h.Options.SubnetFile, h.told())
	switch {
	case err != nil:
		return warn("%s cannot be read: %v", bridge, err).mend("ip addr show dev " + bridge)
	case p.What != "":
		return fail("%s", p.What).mend("# "+p.Remedy, "systemctl restart docker", "systemctl cat docker   # whether it reads what mk-docker-opts.sh has written")
	}
	return pass("%s has the subnet %s, or is not there yet", bridge, h.key())
}

func lookDockerOptions(_ context.Context, h *Host) Result {
	var wrong, mend []string
	given := filepath.Join(filepath.Dir(h.Options.SubnetFile), "docker")
	if _, err := os.Stat(given); err == nil {
		if keys := host.Refused(host.DaemonJSON); keys != "" {
			wrong = append(wrong, fmt.Sprintf("%s sets %s, which %s makes options, too: Docker does not start with both", host.DaemonJSON, keys, given))
			mend = append(mend, "# remove "+keys+" from "+host.DaemonJSON+", then:")
		}
	}
	if err := unreadable(host.DaemonJSON); err != nil {
		wrong = append(wrong, fmt.Sprintf("Docker cannot read %s: %v", host.DaemonJSON, err))
		mend = append(mend, "python3 -m json.tool "+host.DaemonJSON+"   # shows the place")
	}
	seen := "no dockerd runs"
	for _, d := range dockerds() {
		seen = fmt.Sprintf("dockerd (process %d) was started with nothing else", d.pid)
		for flag, want := range map[string]string{"bip": first(h.key().V4).String(), "mtu": strconv.Itoa(h.Status.Backend.MTU)} {
			switch have := d.values(flag); {
			case len(have) > 1:
				wrong = append(wrong, fmt.Sprintf("dockerd (process %d) was started with --%s twice: %s", d.pid, flag, strings.Join(have, ", ")))
			case len(have) == 1 && have[0] != want && want != "0":
				wrong = append(wrong, fmt.Sprintf("dockerd (process %d) was started with --%s=%s, and the subnet file says %s", d.pid, flag, have[0], want))
			}
		}
	}
	slices.Sort(wrong)
	if len(wrong) == 0 {
		return pass("%s sets nothing that the subnet file does, and %s", host.DaemonJSON, seen)
	}
	return fail("%s", wrong[0]).with(wrong[1:]...).mend(append(mend, "systemctl reset-failed docker; systemctl restart docker")...)
}

// mostJSON bounds Docker's file, in bytes.
const mostJSON = 1 << 20

// unreadable says why Docker cannot read its file; nil: it can, or there is none.
func unreadable(path string) error {
	text, err := smallfile.Read(path, mostJSON)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var file map[string]json.RawMessage
	if len(strings.TrimSpace(string(text))) == 0 {
		return nil
	}
	return json.Unmarshal(text, &file)
}
