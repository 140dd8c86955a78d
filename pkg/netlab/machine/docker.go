package machine

// DockerHost is the recipe of a host with Docker, etcd and NetworkManager, which do
// not start at boot unless they are enabled.
func DockerHost() Recipe {
	return Recipe{
		Packages: []string{"docker.io", "busybox-static", "etcd-server", "etcd-client", "network-manager"},
		Disable: []string{"docker.service", "docker.socket", "containerd.service", "etcd.service",
			"NetworkManager.service", "NetworkManager-dispatcher.service", "NetworkManager-wait-online.service"},
	}
}

// FirewalldHost is that of a host which also has firewalld.
func FirewalldHost() Recipe {
	r := DockerHost()
	r.Packages = append(r.Packages, "firewalld")
	r.Disable = append(r.Disable, "firewalld.service")
	return r
}

// Docker28 is the recipe of a root with a Docker of release 28 or later, which no
// release of Debian has yet, to run as a Service.
func Docker28() Recipe {
	return Recipe{Release: "forky", Bare: true, Packages: []string{"docker.io", "iptables"}}
}

// Docker29 is that of a root for a Docker of release 29 or later, which no release of
// Debian has: it is the caller's own, and makes its rules with the program nft.
func Docker29() Recipe {
	r := Docker28()
	r.Packages = append(r.Packages, "nftables")
	return r
}
