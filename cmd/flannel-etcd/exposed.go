package main

import "fmt"

// exposed returns warnings of what strangers could do at the URLs that are
// listened at.
func exposed(o options) []string {
	var out []string
	for _, u := range o.Clients {
		if !loopback(u.Hostname()) && (u.Scheme == "http" || o.ClientTLS.CA == "") {
			out = append(out, fmt.Sprintf("Listens at %s without asking clients for a certificate: whoever reaches it can redirect the whole network's traffic. "+
				"Let only the hosts of the network through a firewall, or use https with --trusted-ca-file", &u))
		}
	}
	for _, u := range o.Peers {
		if !loopback(u.Hostname()) && u.Scheme == "http" {
			out = append(out, fmt.Sprintf("Listens at %s to members without asking for a certificate: whoever reaches it can write what he likes. "+
				"Let only the members through a firewall, or give --peer-cert-file, --peer-key-file and --peer-trusted-ca-file", &u))
		}
	}
	return out
}
