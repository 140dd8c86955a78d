package options

import (
	"fmt"
	"log/slog"
)

// Secret is a string that no formatter, logger or encoder prints. Convert it to
// string to use it.
type Secret string

const redacted = "***"

func (Secret) String() string { return redacted }

// GoString is what %#v prints.
func (Secret) GoString() string { return redacted }

// LogValue is what slog prints.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText is what encoders print.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Format covers the verbs that would bypass String, such as %d.
func (Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, redacted) }
