// Package offload does the work of network cards for a TUN device: it cuts a GSO packet
// from the device into segments for the wire, and joins received segments into GSO
// packets for the device.
//
// It makes no system call, keeps no packet, and does not allocate once it runs. It knows
// neither peers nor datagrams, handles IPv4 only, and decrements the TTL. The example
// shows a packet's way from one device to the wire, and from there to another.
package offload
