package pushrpc

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	pauseMin = 100 * time.Millisecond
	pauseMax = 5 * time.Second
)

// pauses grow from one failure to the next and are spread, so that callers do not come back all at once.
type pauses struct {
	step time.Duration
}

// next is how long to wait before the next try, never less than atLeast.
func (p *pauses) next(atLeast time.Duration) time.Duration {
	p.step = min(max(2*p.step, pauseMin), pauseMax)
	return atLeast + p.step/2 + rand.N(p.step/2)
}

func (p *pauses) reset() {
	p.step = 0
}

// sleep returns false when ctx was done, or the client closed, first.
func (c *Client) sleep(ctx context.Context, duration time.Duration) bool {
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	case <-c.closed:
		return false
	}
}
