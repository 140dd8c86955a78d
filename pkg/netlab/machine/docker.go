package machine

// DockerHost is the recipe of a host with Docker, etcd and NetworkManager. They start
// at boot only if a test enables them.
func DockerHost() Recipe {
	return Recipe{
		Packages: []string{"docker.io", "busybox-static", "etcd-server", "etcd-client", "network-manager"},
		Disable: []string{"docker.service", "docker.socket", "containerd.service", "etcd.service",
			"NetworkManager.service", "NetworkManager-dispatcher.service", "NetworkManager-wait-online.service"},
	}
}

// FreshHost is the recipe of a host on which Docker and etcd can be installed by apt, and
// run from then on. It has NetworkManager, which starts at boot only if a test enables it.
func FreshHost() Recipe {
	return Recipe{
		Packages: []string{"network-manager"},
		Disable:  []string{"NetworkManager.service", "NetworkManager-dispatcher.service", "NetworkManager-wait-online.service"},
		Later:    []string{"docker.io", "busybox-static", "etcd-server", "etcd-client"},
	}
}

// FirewalldHost is the recipe of a DockerHost that also has firewalld.
func FirewalldHost() Recipe {
	r := DockerHost()
	r.Packages = append(r.Packages, "firewalld")
	r.Disable = append(r.Disable, "firewalld.service")
	return r
}

// Docker28 is the recipe of a bare root with Docker 28 or later, which only Debian's
// next release has.
func Docker28() Recipe {
	return Recipe{Release: "forky", Bare: true, Packages: []string{"docker.io", "iptables"}}
}

// Docker29 is the recipe of a bare root for Docker 29 or later, which no release of
// Debian has: the caller brings its dockerd, which makes its rules with nft.
func Docker29() Recipe {
	r := Docker28()
	r.Packages = append(r.Packages, "nftables")
	return r
}
