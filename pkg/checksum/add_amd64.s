#include "textflag.h"

// func sumAVX2(b []byte) uint64
//
// AVX2 has no carry. So each 64-bit lane sums whole words, which overflows, and
// beside it their upper halves, which cannot. The lower halves follow from both:
// low = whole - high<<32 modulo 2^64. That is one operation less per word than
// masking the lower halves out.
TEXT ·sumAVX2(SB), NOSPLIT, $0-32
	MOVQ  b_base+0(FP), SI
	MOVQ  b_len+8(FP), CX
	VPXOR Y0, Y0, Y0          // whole words
	VPXOR Y1, Y1, Y1
	VPXOR Y2, Y2, Y2          // upper halves
	VPXOR Y3, Y3, Y3

loop:
	VMOVDQU (SI), Y4
	VMOVDQU 32(SI), Y5
	VPADDQ  Y4, Y0, Y0
	VPADDQ  Y5, Y1, Y1
	VPSRLQ  $32, Y4, Y4
	VPSRLQ  $32, Y5, Y5
	VPADDQ  Y4, Y2, Y2
	VPADDQ  Y5, Y3, Y3
	ADDQ    $64, SI
	SUBQ    $64, CX
	JNZ     loop

	VPADDQ Y1, Y0, Y0
	VPADDQ Y3, Y2, Y2
	VPSLLQ $32, Y2, Y3
	VPSUBQ Y3, Y0, Y0         // lower halves
	VPADDQ Y2, Y0, Y0

	VEXTRACTI128 $1, Y0, X1
	VPADDQ       X1, X0, X0
	VPSRLDQ      $8, X0, X1
	VPADDQ       X1, X0, X0
	VZEROUPPER
	MOVQ         X0, ret+24(FP)
	RET
