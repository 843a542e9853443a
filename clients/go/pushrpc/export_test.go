package pushrpc

import "time"

// WithSilence is how long a stream may be silent before it is reopened.
func WithSilence(silenceMax time.Duration) Option {
	return func(s *settings) error {
		s.silenceMax = silenceMax
		return nil
	}
}

// WithOpening is how long Follow waits for a stream to begin.
func WithOpening(openingMax time.Duration) Option {
	return func(s *settings) error {
		s.openingMax = openingMax
		return nil
	}
}

// Ended is closed when the bulk has ended.
func (b *Bulk) Ended() <-chan struct{} {
	return b.done
}

const (
	OpeningMax    = defaultOpeningMax
	ServiceConfig = serviceConfig
	UnansweredMax = unansweredMax
)
