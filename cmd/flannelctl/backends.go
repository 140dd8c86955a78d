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

// backendTypes are those that there are.
func backendTypes() []string { return []string{udp.Type, vxlan.Type, hostgw.Type, alloc.Type} }

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

// option is one of a backend's.
type option struct{ name, value string }

// backendOptions returns what the backend of a configuration goes by, defaults filled in, and
// the names that are no options of it. An error is a *config.Error.
func backendOptions(cfg config.Config) (all []option, unknown []string, err error) {
	add := func(name string, value any) { all = append(all, option{name, fmt.Sprint(value)}) }
	switch cfg.Type {
	case vxlan.Type:
		var o vxlan.Options
		o, unknown, err = vxlan.ParseOptions(cfg.Backend, cfg.V6.Enabled())
		add("VNI", o.VNI)
		add("Port", o.Port)
		if o.Port == 0 {
			all[1].value = "8472"
		}
		add("DirectRouting", o.DirectRouting)
		add("GBP", o.GBP)
		add("Learning", o.Learning)
		if o.MTU > 0 {
			add("MTU", o.MTU)
		}
	case udp.Type:
		var o udp.Options
		o, unknown, err = udp.ParseOptions(cfg.Backend)
		add("Port", o.Port)
	case hostgw.Type, alloc.Type:
		unknown, err = config.DecodeBackend(cfg.Backend, &struct{}{})
	default:
		err = config.OptionError(cfg.Backend, "Type", "unknown backend type: "+cfg.Type, `there are "udp", "vxlan", "host-gw" and "alloc"`)
	}
	return all, unknown, cfg.Locate(err)
}
