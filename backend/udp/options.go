package udp

import (
	"encoding/json"

	"flanneld/subnet/config"
)

// defaultPort is what every release used.
const defaultPort = 8285

// Options are the configuration's "Backend" object.
type Options struct {
	Port uint16 // UDP, of every host; 0: 8285
}

// ParseOptions reads the configuration's "Backend" object, and returns the names
// in it that are no options. An error is a *config.Error.
func ParseOptions(raw json.RawMessage) (o Options, unknown []string, err error) {
	unknown, err = config.DecodeBackend(raw, &o)
	if o.Port == 0 {
		o.Port = defaultPort
	}
	return o, unknown, err
}
