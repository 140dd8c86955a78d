package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// aTree is what a package installs, as far as an image takes it.
func aTree(t *testing.T, program string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"usr/bin/flanneld": program, "usr/bin/flannelctl": "ctl", "usr/share/doc/flanneld/copyright": "all"} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// made writes an image and returns its file and what was printed: its digest.
func made(t *testing.T, trees ...string) (file, digest string) {
	t.Helper()
	var out strings.Builder
	file = filepath.Join(t.TempDir(), "image.tar")
	if err := run(&out, append([]string{"image", file, "localhost/flanneld", "v1.0.0", "0123456789ab", "1700000000"}, trees...)); err != nil {
		t.Fatal(err)
	}
	return file, out.String()
}

func TestAnImageIsTheSameTwice(t *testing.T) {
	first, digest := made(t, "amd64="+aTree(t, "a"), "arm="+aTree(t, "b"))
	second, again := made(t, "amd64="+aTree(t, "a"), "arm="+aTree(t, "b"))
	a, _ := os.ReadFile(first)
	b, _ := os.ReadFile(second)
	if len(a) == 0 || !bytes.Equal(a, b) || digest != again {
		t.Errorf("an image of %d bytes is another one, of %d, the second time: %s, %s", len(a), len(b), digest, again)
	}
	if _, other := made(t, "amd64="+aTree(t, "a"), "arm="+aTree(t, "c")); other == digest {
		t.Error("another program makes no other image")
	}
}

func TestAnImageIsWhatEnginesRead(t *testing.T) {
	file, digest := made(t, "amd64="+aTree(t, "a"), "arm="+aTree(t, "b"))
	dir := unpack(t, file)
	top, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(top); err != nil {
		t.Error(err)
	}
	list, err := top.IndexManifest()
	if err != nil || len(list.Manifests) != 1 || list.Manifests[0].Annotations["org.opencontainers.image.ref.name"] != "localhost/flanneld:v1.0.0" ||
		list.Manifests[0].Digest.String()+"\n" != digest {
		t.Fatalf("%v: lists %+v, want one named index %s", err, list, digest)
	}
	index, err := top.ImageIndex(list.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	platforms, err := index.IndexManifest()
	if err != nil || len(platforms.Manifests) != 2 || platforms.Manifests[0].Platform.String() != "linux/amd64" || platforms.Manifests[1].Platform.String() != "linux/arm/v7" {
		t.Fatalf("%v: platforms are %+v", err, platforms)
	}
	image, err := index.Image(platforms.Manifests[1].Digest)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	said, _ := json.Marshal(config)
	for _, want := range []string{`"architecture":"arm"`, `"variant":"v7"`, `"Entrypoint":["/flanneld"]`, `"created":"2023-11-14T22:13:20Z"`, `"org.opencontainers.image.revision":"0123456789ab"`} {
		if !strings.Contains(string(said), want) {
			t.Errorf("the configuration has no %s: %s", want, said)
		}
	}
}

func unpack(t *testing.T, file string) string {
	t.Helper()
	data, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer data.Close()
	dir := t.TempDir()
	for in := tar.NewReader(data); ; {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(in)
		path := filepath.Join(dir, header.Name)
		if err := errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, text, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMistakes(t *testing.T) {
	for args, want := range map[string]string{
		"":                         "usage:",
		"sign a b x":               `the time is "x"`,
		"sign /none b 1":           "read the key: open /none",
		"image f n v c 1 amd64":    `"amd64" is not ARCH=DIRECTORY`,
		"image f n v c 1 x=/none":  "make f: x: open /none/usr/share/doc/flanneld/copyright",
		"image f n v c later a=/b": `the time is "later"`,
	} {
		if err := run(io.Discard, strings.Fields(args)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", args, err, want)
		}
	}
}
