package bpf

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// MapSpec says what a map is like; sizes are in bytes.
type MapSpec struct {
	Name       string
	Kind       uint32 // unix.BPF_MAP_TYPE_*
	Key, Value uint32
	Entries    uint32
	Flags      uint32
}

// Map is what programs and this process have in common. The methods may be called
// concurrently.
type Map struct {
	spec MapSpec
	fd   int
	cpus int // whose values a look-up returns; 1 if all have one
}

// NewMap makes a map.
func NewMap(s MapSpec) (*Map, error) {
	m := &Map{spec: s, cpus: 1}
	if s.Kind == unix.BPF_MAP_TYPE_PERCPU_ARRAY {
		var err error
		if m.cpus, err = possibleCPUs(); err != nil {
			return nil, fmt.Errorf("make map %s: %w", s.Name, err)
		}
	}
	attr := struct {
		kind, key, value, entries, flags, inner, node uint32
		name                                          [16]byte
	}{kind: s.Kind, key: s.Key, value: s.Value, entries: s.Entries, flags: s.Flags}
	copy(attr.name[:15], s.Name)
	var err error
	m.fd, err = call(unix.BPF_MAP_CREATE, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	if (errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL)) && lockMore() {
		m.fd, err = call(unix.BPF_MAP_CREATE, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	}
	if err != nil {
		return nil, fmt.Errorf("make map %s: %w", s.Name, refused(err))
	}
	return m, nil
}

// lockMore lets this process lock as much memory as it may, and reports whether that is more
// than before. Before Linux 5.11 maps are part of it, and the usual limit is 64 KB. One kind
// of map fails with EINVAL there.
func lockMore() bool {
	var had unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &had); err != nil || had.Cur == unix.RLIM_INFINITY {
		return false
	}
	all := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY} // takes CAP_SYS_RESOURCE
	if unix.Setrlimit(unix.RLIMIT_MEMLOCK, &all) == nil {
		return true
	}
	return had.Cur < had.Max && unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: had.Max, Max: had.Max}) == nil
}

// refused adds to EPERM what takes it away.
func refused(err error) error {
	if !errors.Is(err, unix.EPERM) {
		return err
	}
	return fmt.Errorf("%w (it takes CAP_BPF, and before Linux 5.11 LimitMEMLOCK=64M)", err)
}

// Close lets go of the map. Programs that were loaded with it keep it.
func (m *Map) Close() error { return unix.Close(m.fd) }

// Put sets the value of a key.
func (m *Map) Put(key, value []byte) error {
	return m.do(unix.BPF_MAP_UPDATE_ELEM, "put into", key, value)
}

// Delete removes a key, which is there.
func (m *Map) Delete(key []byte) error {
	return m.do(unix.BPF_MAP_DELETE_ELEM, "delete from", key, nil)
}

// Get returns the value of a key. Of a map that has one for each processor it returns all,
// one after the other, each aligned to 8 bytes.
func (m *Map) Get(key []byte) ([]byte, error) {
	size := int(m.spec.Value)
	if m.spec.Kind == unix.BPF_MAP_TYPE_PERCPU_ARRAY {
		size = (size + 7) &^ 7 * m.cpus
	}
	value := make([]byte, size)
	return value, m.do(unix.BPF_MAP_LOOKUP_ELEM, "look up in", key, value)
}

func (m *Map) do(command uintptr, what string, key, value []byte) error {
	attr := struct {
		fd, _      uint32
		key, value uint64
		flags      uint64
	}{fd: uint32(m.fd), key: address(key), value: address(value)}
	_, err := call(command, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	runtime.KeepAlive(key)
	runtime.KeepAlive(value)
	if err != nil {
		return fmt.Errorf("%s map %s: %w", what, m.spec.Name, err)
	}
	return nil
}

// possibleCPUs returns how many processors the kernel has room for, whether or not they
// are there.
func possibleCPUs() (int, error) {
	text, err := os.ReadFile("/sys/devices/system/cpu/possible")
	if err != nil {
		return 0, err
	}
	list := strings.TrimSpace(string(text)) // as in 0-3
	last, err := strconv.ParseUint(list[strings.LastIndexAny(list, "-,")+1:], 10, 16)
	return int(last) + 1, err
}
