package etcd

// Failure is an error whose text differs from those of its causes: a client's error in
// one line, say, with the remedies for causes that are known.
type Failure struct {
	Text   string
	Causes []error
}

func (f *Failure) Error() string   { return f.Text }
func (f *Failure) Unwrap() []error { return f.Causes }
