//go:build !amd64

package checksum

func add(sum uint64, b []byte) uint64 { return addPortable(sum, b) }
