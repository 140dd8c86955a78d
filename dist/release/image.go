package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// about is what an image says of itself.
type about struct {
	Name    string // such as localhost/flanneld
	Version string
	Commit  string
	Time    time.Time
}

// writeImage writes the images of all architectures into one tar file, and returns the digest of
// the index that lists them.
func writeImage(file string, a about, trees []string) (v1.Hash, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, t := range trees {
		arch, dir, ok := strings.Cut(t, "=")
		if !ok {
			return v1.Hash{}, fmt.Errorf("%q is not ARCH=DIRECTORY", t)
		}
		platform := v1.Platform{OS: "linux", Architecture: arch}
		if arch == "arm" {
			platform.Variant = "v7"
		}
		image, err := makeImage(a, platform, dir)
		if err != nil {
			return v1.Hash{}, fmt.Errorf("%s: %w", arch, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &platform}})
	}
	digest, err := index.Digest()
	if err != nil {
		return v1.Hash{}, err
	}
	// podman and skopeo take the name from the first, containerd and Docker from the second.
	named := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: index, Descriptor: v1.Descriptor{Annotations: map[string]string{
		"org.opencontainers.image.ref.name": a.Name + ":" + a.Version,
		"io.containerd.image.name":          a.Name + ":" + a.Version,
	}}})
	dir, err := os.MkdirTemp("", "image")
	if err != nil {
		return v1.Hash{}, err
	}
	defer os.RemoveAll(dir)
	if _, err := layout.Write(dir, named); err != nil {
		return v1.Hash{}, err
	}
	out, err := os.Create(file)
	if err != nil {
		return v1.Hash{}, err
	}
	return digest, errors.Join(pack(out, dir, a.Time), out.Close())
}

// makeImage makes the image of one architecture: the programs, and no other. It has the places
// where the host's /usr and directories are mounted, and the links by which programs there find
// their libraries.
func makeImage(a about, p v1.Platform, dir string) (v1.Image, error) {
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		r, w := io.Pipe()
		go func() { w.CloseWithError(writeLayer(w, dir, a.Time)) }() // the reader ends it by closing
		return r, nil
	}, tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching)
	if err != nil {
		return nil, err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.Append(base, mutate.Addendum{Layer: layer, MediaType: types.OCILayer,
		History: v1.History{Created: v1.Time{Time: a.Time}, CreatedBy: "make release"}})
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	return mutate.ConfigFile(image, describe(config, a, p))
}

// describe completes the configuration of an image that has its layers.
func describe(layers *v1.ConfigFile, a about, p v1.Platform) *v1.ConfigFile {
	config := layers.DeepCopy()
	config.OS, config.Architecture, config.Variant = p.OS, p.Architecture, p.Variant
	config.Created = v1.Time{Time: a.Time}
	config.Config = v1.Config{
		Entrypoint: []string{"/flanneld"},
		Env:        []string{"PATH=/:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		Labels: map[string]string{
			"org.opencontainers.image.title":    "flanneld",
			"org.opencontainers.image.version":  a.Version,
			"org.opencontainers.image.revision": a.Commit,
			"org.opencontainers.image.created":  a.Time.Format(time.RFC3339),
			"org.opencontainers.image.licenses": "Apache-2.0",
		},
		StopSignal: "SIGTERM",
	}
	return config
}

// writeLayer writes the files of an image.
func writeLayer(w io.Writer, dir string, at time.Time) error {
	out := tar.NewWriter(w)
	for _, d := range []string{"etc/", "etc/alternatives/", "run/", "run/flannel/", "tmp/", "usr/", "var/", "var/lib/", "var/lib/flannel/"} {
		if err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: d, Mode: 0o755, ModTime: at}); err != nil {
			return err
		}
	}
	for _, name := range []string{"bin", "lib", "lib64", "sbin"} {
		if err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: "usr/" + name, Mode: 0o777, ModTime: at}); err != nil {
			return err
		}
	}
	for _, f := range []struct {
		from, to string
		mode     int64
	}{{"usr/share/doc/flanneld/copyright", "copyright", 0o644}, {"usr/bin/flannelctl", "flannelctl", 0o755}, {"usr/bin/flanneld", "flanneld", 0o755}} {
		data, err := os.ReadFile(filepath.Join(dir, f.from))
		if err != nil {
			return err
		}
		if err := add(out, f.to, f.mode, at, data); err != nil {
			return err
		}
	}
	return out.Close()
}

func add(out *tar.Writer, name string, mode int64, at time.Time, data []byte) error {
	if err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(data)), Mode: mode, ModTime: at}); err != nil {
		return err
	}
	_, err := out.Write(data)
	return err
}

// pack writes the files of a directory to a tar file, in the order of their names.
func pack(w io.Writer, dir string, at time.Time) error {
	out := tar.NewWriter(w)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return add(out, filepath.ToSlash(name), 0o644, at, data)
	})
	return errors.Join(err, out.Close())
}
