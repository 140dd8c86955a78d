package cleanup

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"flanneld/pkg/envfile"
	"flanneld/pkg/smallfile"
	"flanneld/pkg/statedir"
	"flanneld/subnet/cache"
	"flanneld/subnet/node"
)

// files removes the daemon's files, and those that say its subnet to Docker.
func (r *Report) files(o Options) error {
	var errs []error
	remove := func(path string) { errs = append(errs, r.file(path, o.Dry)) }
	vars, err := envfile.Read(o.SubnetFile)
	bridge := vars["FLANNEL_SUBNET"]
	switch {
	case err != nil:
		errs = append(errs, err)
	case vars == nil: // there is none
	case bridge == "" && vars["FLANNEL_IPV6_SUBNET"] == "":
		r.Left = append(r.Left, Left{o.SubnetFile, "it is no subnet file"})
	default:
		// Docker's drop-in has its file beside the subnet file.
		for _, options := range []string{filepath.Join(filepath.Dir(o.SubnetFile), "docker"), o.DockerOptions} {
			if bridge != "" && names(options, "--bip="+bridge) {
				remove(options)
			}
		}
		remove(o.SubnetFile) // last, or a second try would not know the others
	}
	if abandoned(o.Socket) {
		remove(o.Socket)
	}
	if o.StateDir == "" {
		return errors.Join(errs...)
	}
	state, err := os.ReadDir(o.StateDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	others := 0
	for _, f := range state {
		if ofState(f.Name()) && f.Type().IsRegular() {
			remove(filepath.Join(o.StateDir, f.Name()))
		} else {
			others++
		}
	}
	if err == nil && others == 0 {
		remove(o.StateDir)
	} else if others > 0 {
		r.Left = append(r.Left, Left{o.StateDir, "there are files in it that are not the daemon's"})
	}
	return errors.Join(errs...)
}

func (r *Report) file(path string, dry bool) error {
	if !dry {
		err := os.Remove(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	r.Removed = append(r.Removed, Change{"file", "rm -d " + path})
	return nil
}

// mostOptions bounds a file of Docker's options, in bytes.
const mostOptions = 64 << 10

// names reports whether a file gives Docker that option.
func names(path, option string) bool {
	text, err := smallfile.Read(path, mostOptions)
	return err == nil && slices.Contains(strings.FieldsFunc(string(text), func(c rune) bool { return strings.ContainsRune(" \t\n\"'", c) }), option)
}

// abandoned reports whether a killed daemon has left a socket.
func abandoned(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode()&os.ModeSocket == 0 {
		return false
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		_ = c.Close()
	}
	return errors.Is(err, unix.ECONNREFUSED)
}

// ofState reports whether a file of the state directory has a name that the daemon gives.
// Names that begin with a dot are those of files that were not finished.
func ofState(name string) bool {
	return slices.Contains([]string{cache.File, node.File, statedir.LockFile}, name) || strings.HasSuffix(name, ".mac") || name[0] == '.'
}
