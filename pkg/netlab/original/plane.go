package original

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// plane is a backend. Its methods are not called together.
type plane interface {
	attrs() attrs // without the address
	mtu() int
	up(own netip.Prefix) error
	add(peer lease) error
	remove(peer lease) error
	again() error // every ten seconds
	down()
}

// external is the interface that packets leave by.
type external struct {
	name, address, public string
	mtu                   int
}

// defaultInterface is the one of the default route.
func defaultInterface(public string) (e external, err error) {
	out, err := ip("-4 -o route show default")
	if err != nil {
		return e, err
	}
	_, after, ok := strings.Cut(out, " dev ")
	if !ok {
		return e, fmt.Errorf("unable to find default route")
	}
	e.name = strings.Fields(after)[0]
	if out, err = ip("-4 -o addr show dev " + e.name); err != nil {
		return e, err
	}
	_, after, _ = strings.Cut(out, " inet ")
	e.address, _, _ = strings.Cut(after, "/")
	if e.public = e.address; public != "" {
		e.public = public
	}
	mtu, err := os.ReadFile("/sys/class/net/" + e.name + "/mtu")
	if err == nil {
		e.mtu, err = strconv.Atoi(strings.TrimSpace(string(mtu)))
	}
	return e, err
}

func planeOf(release string, n network, e external) (plane, error) {
	switch strings.ToLower(n.Backend.Type) {
	case "vxlan":
		return newVXLAN(n, e)
	case "host-gw":
		return &hostGW{external: e, routes: make(map[netip.Prefix]string)}, nil
	case "udp":
		return newUDP(release, n, e)
	}
	return nil, fmt.Errorf("unknown backend type: %s", n.Backend.Type)
}

// vxlan has, for each peer, a neighbour, a forwarding entry and a route.
type vxlan struct {
	external external
	name     string
	port     int
	data     struct {
		VNI     int
		VtepMAC string
	}
}

// newVXLAN keeps a device that is there, and with it its MAC, unless it sends from another
// address.
func newVXLAN(n network, e external) (*vxlan, error) {
	v := &vxlan{external: e, name: fmt.Sprintf("flannel.%d", n.Backend.VNI), port: n.Backend.Port}
	if v.port == 0 {
		v.port = 8472
	}
	address := "/sys/class/net/" + v.name + "/address"
	is, err := ip("-d -o link show %s", v.name)
	if err == nil && !strings.Contains(is, " local "+e.public+" ") {
		if _, err = ip("link del %s", v.name); err == nil {
			is = ""
		}
	}
	if err != nil || is == "" {
		mac := fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", rand.IntN(64)<<2|2, rand.IntN(256), rand.IntN(256), rand.IntN(256), rand.IntN(256), rand.IntN(256))
		if _, err := ip("link add %s address %s mtu %d type vxlan id %d dev %s local %s dstport %d nolearning",
			v.name, mac, v.mtu(), n.Backend.VNI, e.name, e.public, v.port); err != nil {
			return nil, err
		}
	}
	mac, err := os.ReadFile(address)
	v.data.VNI, v.data.VtepMAC = n.Backend.VNI, strings.TrimSpace(string(mac))
	return v, err
}

func (v *vxlan) attrs() attrs {
	data, _ := json.Marshal(v.data) // two plain values
	return attrs{BackendType: "vxlan", BackendData: data}
}

func (v *vxlan) mtu() int { return v.external.mtu - 50 }

func (v *vxlan) up(own netip.Prefix) error {
	if _, err := ip("addr replace %s/32 dev %s", own.Addr(), v.name); err != nil {
		return err
	}
	_, err := ip("link set %s up", v.name)
	return err
}

func (v *vxlan) peer(l lease) (mac string, err error) {
	if l.attrs.BackendType != "vxlan" {
		return "", fmt.Errorf("ignoring non-vxlan v4Subnet(%s): type=%s", l.subnet, l.attrs.BackendType)
	}
	var data struct{ VtepMAC string }
	err = json.Unmarshal(l.attrs.BackendData, &data)
	return data.VtepMAC, err
}

func (v *vxlan) add(l lease) error {
	mac, err := v.peer(l)
	if err != nil {
		return err
	}
	if _, err := ip("neigh replace %s lladdr %s dev %s nud permanent", l.subnet.Addr(), mac, v.name); err != nil {
		return err
	}
	if _, err := run("bridge fdb replace %s dev %s dst %s self permanent", mac, v.name, l.attrs.PublicIP); err != nil {
		return err
	}
	_, err = ip("route replace %s via %s dev %s onlink", l.subnet, l.subnet.Addr(), v.name)
	return err
}

func (v *vxlan) remove(l lease) error {
	mac, err := v.peer(l)
	if err != nil {
		return err
	}
	for _, command := range []string{
		fmt.Sprintf("ip neigh del %s dev %s", l.subnet.Addr(), v.name),
		fmt.Sprintf("bridge fdb del %s dev %s dst %s self", mac, v.name, l.attrs.PublicIP),
		fmt.Sprintf("ip route del %s via %s dev %s", l.subnet, l.subnet.Addr(), v.name),
	} {
		if _, e := run("%s", command); e != nil {
			err = e // all are tried
		}
	}
	return err
}

func (v *vxlan) again() error { return nil }

func (v *vxlan) down() {}

// hostGW has a route for each peer, and looks every ten seconds whether it is there.
type hostGW struct {
	external external
	routes   map[netip.Prefix]string // gateways
}

func (g *hostGW) attrs() attrs { return attrs{BackendType: "host-gw"} }

func (g *hostGW) mtu() int { return g.external.mtu }

func (g *hostGW) up(netip.Prefix) error {
	if g.external.public != g.external.address {
		return fmt.Errorf("your PublicIP differs from interface IP, meaning that probably you're on a NAT, which is not supported by host-gw backend")
	}
	return nil
}

func (g *hostGW) add(l lease) error {
	if l.attrs.BackendType != "host-gw" {
		return fmt.Errorf("Ignoring non-host-gw subnet: type=%s", l.attrs.BackendType)
	}
	g.routes[l.subnet] = l.attrs.PublicIP
	return g.route(l.subnet)
}

// route leaves a route that is right, replaces one that is not, and adds a missing one.
func (g *hostGW) route(subnet netip.Prefix) error {
	want := fmt.Sprintf("via %s dev %s", g.routes[subnet], g.external.name)
	is, err := ip("-4 route show exact %s", subnet)
	if err != nil || strings.Contains(is, want) {
		return err
	}
	if is != "" {
		if _, err := ip("route del %s", strings.TrimSpace(is)); err != nil {
			return err
		}
	}
	_, err = ip("route add %s %s", subnet, want)
	return err
}

func (g *hostGW) remove(l lease) error {
	gateway, known := g.routes[l.subnet]
	if !known {
		return nil
	}
	delete(g.routes, l.subnet)
	_, err := ip("route del %s via %s dev %s", l.subnet, gateway, g.external.name)
	return err
}

func (g *hostGW) again() (err error) {
	for subnet := range g.routes {
		if e := g.route(subnet); e != nil {
			err = e
		}
	}
	return err
}

func (g *hostGW) down() {}

func ip(format string, args ...any) (string, error) { return run("ip "+format, args...) }

// run runs a command whose arguments have no blanks.
func run(format string, args ...any) (string, error) {
	fields := strings.Fields(fmt.Sprintf(format, args...))
	out, err := exec.Command(fields[0], fields[1:]...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(fields, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), err
}
