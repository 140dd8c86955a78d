package backend

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// DecodeOptions reads the configuration's "Backend" object into a struct whose
// fields are named as the options. Names are matched as encoding/json does,
// without regard to case. A value of the wrong type is an error that names the
// option. No object leaves the defaults.
func DecodeOptions(raw json.RawMessage, into any) error {
	if len(bytes.TrimSpace(raw)) == 0 {
		return nil
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("read Backend options: %w", err)
	}
	return nil
}
