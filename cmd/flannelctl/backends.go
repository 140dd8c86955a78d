package main

import (
	"fmt"

	"flanneld/backend"
	"flanneld/backend/alloc"
	"flanneld/backend/hostgw"
	"flanneld/backend/udp"
	"flanneld/backend/vxlan"
	"flanneld/subnet/config"
)

// outline makes the backend of a configuration to plan with. It opens nothing.
func outline(cfg config.Config, p backend.Params) (backend.Backend, error) {
	var make backend.New
	var err error
	switch cfg.Type {
	case vxlan.Type:
		make, err = vxlan.Configure(cfg.Backend, cfg.V6.Enabled())
	case hostgw.Type:
		make, err = hostgw.Configure(cfg.Backend)
	case alloc.Type:
		make, err = alloc.Configure(cfg.Backend)
	case udp.Type:
		o, _, err := udp.ParseOptions(cfg.Backend)
		if err != nil {
			return nil, err
		}
		return udp.Outline(p, o), nil
	default:
		err = fmt.Errorf("unknown backend type: %s", cfg.Type)
	}
	if err != nil {
		return nil, err
	}
	return make(p)
}
