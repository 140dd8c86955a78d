package machine

// DockerHost is the recipe of a host with Docker and with etcd, which do not start
// at boot unless they are enabled.
func DockerHost() Recipe {
	return Recipe{
		Packages: []string{"docker.io", "busybox-static", "etcd-server", "etcd-client"},
		Disable:  []string{"docker.service", "docker.socket", "containerd.service", "etcd.service"},
	}
}
