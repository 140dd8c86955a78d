package memstore

import "time"

// SetConfig writes the configuration document, as an operator does.
func (s *Store) SetConfig(document string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.config = s.record(change{entry: entry{value: document}, config: true})
}

// DeleteConfig removes the configuration document, if there is one.
func (s *Store) DeleteConfig() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.config.rev != 0 {
		s.record(change{deleted: true, config: true})
		s.config = entry{}
	}
}

// Put writes any value under any key below subnets ("10.5.1.0-24"), without a
// TTL and whatever is there.
func (s *Store) Put(key, value string) { s.PutTTL(key, value, 0) }

// PutTTL is Put with a TTL, in whole seconds; zero: none.
func (s *Store) PutTTL(key, value string, ttl time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(key, value, ttl)
}

// Remove deletes a key below subnets, if it is there.
func (s *Store) Remove(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(key)
}

// RemoveAll deletes all keys below subnets in one event, which names none of
// them, as deleting the directory does.
func (s *Store) RemoveAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.keys)
	s.record(change{deleted: true, dir: true})
}

// Churn makes n changes to keys that are nobody's, so that the history goes on.
func (s *Store) Churn(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range n {
		s.record(change{})
	}
}
