package bus

import "context"

// Attempts is how often a message has been tried, for whoever looks from outside: 1 where it
// came once, or where nothing was noted.
func (s *State) Attempts(ctx context.Context, stream, consumer string, seq uint64) (int, error) {
	a, err := s.attempts(ctx, stream, consumer, seq)
	return max(1, a.Done+a.Unfinished), err
}
