package host

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	"flanneld/pkg/smallfile"
)

// DaemonJSON is where Docker's own configuration lies.
const DaemonJSON = "/etc/docker/daemon.json"

// maxDaemonJSON bounds it, in bytes.
const maxDaemonJSON = 1 << 20

// Refused says which keys of Docker's file Docker does not take beside the options that
// the subnet file becomes; empty: none. A file that Docker cannot read either has none.
func Refused(path string) string {
	text, err := smallfile.Read(path, maxDaemonJSON)
	if err != nil {
		return ""
	}
	var file map[string]json.RawMessage
	if json.Unmarshal(text, &file) != nil {
		return ""
	}
	var found []string
	for _, key := range []string{"bip", "bridge", "mtu", "ip-masq"} {
		if _, ok := file[key]; ok {
			found = append(found, key)
		}
	}
	return strings.Join(found, ", ")
}

// checkRefused says why Docker has no bridge that fits: its own file stands in the way of
// the options, which were made for it.
func checkRefused(bridge, path, subnetFile string) Problem {
	keys := Refused(path)
	if _, err := os.Stat(filepath.Join(filepath.Dir(subnetFile), "docker")); keys == "" || err != nil {
		return Problem{} // Docker was given no options: its file may say what it likes
	}
	return Problem{"there is no " + bridge + ", and " + path + " sets " + keys + ", which Docker refuses to be given as an option, too",
		"remove " + keys + " from " + path + ", then systemctl reset-failed docker && systemctl restart docker"}
}
