package fastpath

import (
	"encoding/base64"
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"

	"flanneld/pkg/bpf"
)

// Linux 6.1 remembers a number that is stored at the beginning of eight bytes of the stack, and
// then refuses to who lacks CAP_PERFMON that a part of them is stored ("attempt to corrupt spilled
// pointer on stack"), unless a helper was given them in between. 5.10 and 6.12 do not.
func TestStackIsWrittenAsLinux61Allows(t *testing.T) {
	const insnSize, whole = 8, 8 // bytes
	for _, p := range []bpf.Program{txProgram(), rxProgram(), gpeProgram()} {
		code, err := base64.StdEncoding.DecodeString(p.Code)
		if err != nil {
			t.Fatal(err)
		}
		stores, kept := 0, make(map[int]bool)
		for at := 0; at < len(code); at += insnSize {
			op, to, offset := code[at], stackRegister(code[at+1]), int(int16(binary.NativeEndian.Uint16(code[at+2:])))
			class, size := op&7, map[byte]int{unix.BPF_B: 1, unix.BPF_H: 2, unix.BPF_W: 4, unix.BPF_DW: 8}[op&0x18]
			switch {
			case op == unix.BPF_JMP|unix.BPF_CALL:
				clear(kept)
			case (class == unix.BPF_ST || class == unix.BPF_STX) && to:
				stores++
				slot := offset &^ (whole - 1)
				if kept[slot] && size < whole {
					t.Errorf("%s: instruction %d stores %d bytes at %d of the stack, in eight that are a number", p.Name, at/insnSize, size, offset)
				}
				kept[slot] = kept[slot] || offset == slot
			}
			if op == unix.BPF_LD|unix.BPF_IMM|unix.BPF_DW {
				at += insnSize // its second half
			}
		}
		if stores == 0 {
			t.Errorf("%s: no store was found", p.Name)
		}
	}
}

// stackRegister reports whether an instruction's destination is the frame pointer.
func stackRegister(registers byte) bool {
	if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 {
		return registers&15 == unix.BPF_REG_10
	}
	return registers>>4 == unix.BPF_REG_10
}
