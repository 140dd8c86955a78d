package wire

import "testing"

// BenchmarkDecode is what it costs to read a lease; a start reads all of them twice.
func BenchmarkDecode(b *testing.B) {
	for name, value := range map[string]string{
		"vxlan": `{"PublicIP":"192.168.119.251","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:13:87"},"NodeID":"5f0c1a3e9d2b4c6f"}`,
		"udp":   `{"PublicIP":"192.168.119.251","PublicIPv6":null}`,
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Decode("10.119.249.0-24", value); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
