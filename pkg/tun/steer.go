package tun

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// steer makes the kernel choose the queue by what is the same in all packets of a flow
// (since Linux 4.16). By default it moves a flow to the queue of the last answer
// (tun_flow_update), and so the flow overtakes its packets in the other queue.
func steer(fd int) error {
	program, err := load(steering())
	if err != nil {
		return fmt.Errorf("load program: %w", err)
	}
	defer func() { _ = unix.Close(program) }()
	if err := unix.IoctlSetPointerInt(fd, unix.TUNSETSTEERINGEBPF, program); err != nil {
		return fmt.Errorf("attach program: %w", err)
	}
	return nil
}

// Registers of the program. Loads from the packet want the context in r6.
const (
	result, argument, context, hash, headLen = 0, 1, 6, 7, 8
)

// steering is an eBPF program that returns a hash, 16 bits, of the addresses of
// an IPv4 packet and of its ports, if each packet of the flow has them. The
// kernel takes it modulo the number of queues. A load beyond the packet's end makes
// the program return 0.
func steering() []byte {
	const (
		fromPacket = unix.BPF_LD | unix.BPF_ABS
		xor        = unix.BPF_ALU | unix.BPF_XOR | unix.BPF_X
		golden     = 0x9E3779B1 - 1<<32 // 2^32 / 1.618: spreads neighbours
	)
	return assemble(
		instruction{op: unix.BPF_ALU64 | unix.BPF_MOV | unix.BPF_X, dst: context, src: argument},
		instruction{op: fromPacket | unix.BPF_W, imm: 12}, // source
		instruction{op: unix.BPF_ALU64 | unix.BPF_MOV | unix.BPF_X, dst: hash, src: result},
		instruction{op: unix.BPF_ALU | unix.BPF_MUL | unix.BPF_K, dst: hash, imm: golden},
		instruction{op: fromPacket | unix.BPF_W, imm: 16}, // destination
		instruction{op: xor, dst: hash, src: result},
		instruction{op: unix.BPF_ALU | unix.BPF_MUL | unix.BPF_K, dst: hash, imm: golden},
		instruction{op: fromPacket | unix.BPF_H, imm: 6}, // a fragment?
		instruction{op: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, dst: result, imm: 0x3fff},
		instruction{op: unix.BPF_JMP | unix.BPF_JNE | unix.BPF_K, dst: result, jump: 9},
		instruction{op: fromPacket | unix.BPF_B, imm: 9}, // protocol
		instruction{op: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, dst: result, imm: unix.IPPROTO_TCP, jump: 1},
		instruction{op: unix.BPF_JMP | unix.BPF_JNE | unix.BPF_K, dst: result, imm: unix.IPPROTO_UDP, jump: 6},
		instruction{op: fromPacket | unix.BPF_B, imm: 0},
		instruction{op: unix.BPF_ALU64 | unix.BPF_MOV | unix.BPF_X, dst: headLen, src: result},
		instruction{op: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, dst: headLen, imm: 15},
		instruction{op: unix.BPF_ALU | unix.BPF_LSH | unix.BPF_K, dst: headLen, imm: 2},
		instruction{op: unix.BPF_LD | unix.BPF_IND | unix.BPF_W, src: headLen}, // both ports
		instruction{op: xor, dst: hash, src: result},
		instruction{op: unix.BPF_ALU | unix.BPF_MUL | unix.BPF_K, dst: hash, imm: golden},
		instruction{op: unix.BPF_ALU | unix.BPF_RSH | unix.BPF_K, dst: hash, imm: 16},
		instruction{op: unix.BPF_ALU64 | unix.BPF_MOV | unix.BPF_X, dst: result, src: hash},
		instruction{op: unix.BPF_JMP | unix.BPF_EXIT},
	)
}

// instruction is a struct bpf_insn of linux/bpf.h.
type instruction struct {
	op, dst, src uint8
	jump         int16 // so many instructions more
	imm          int32
}

func assemble(program ...instruction) []byte {
	order := binary.NativeEndian
	little := order.Uint16([]byte{1, 0}) == 1
	var b []byte
	for _, i := range program {
		// Bit fields: the first one is at the small end of the machine.
		registers := i.dst<<4 | i.src
		if little {
			registers = i.src<<4 | i.dst
		}
		b = append(b, i.op, registers)
		b = order.AppendUint16(b, uint16(i.jump))
		b = order.AppendUint32(b, uint32(i.imm))
	}
	return b
}

// load returns a file descriptor of the program.
func load(program []byte) (int, error) {
	license := [1]byte{}
	// The beginning of union bpf_attr; what follows is zero.
	attr := struct {
		kind, count    uint32
		code, license  uint64
		level, logSize uint32
		log            uint64
		version, flags uint32
	}{
		kind: unix.BPF_PROG_TYPE_SOCKET_FILTER, count: uint32(len(program) / 8),
		code: address(&program[0]), license: address(&license[0]),
	}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	runtime.KeepAlive(program)
	runtime.KeepAlive(&license)
	if errno != 0 {
		return -1, errno
	}
	unix.CloseOnExec(int(fd))
	return int(fd), nil
}

func address(b *byte) uint64 { return uint64(uintptr(unsafe.Pointer(b))) }
