package ostree

import (
	"context"
	"os"
	"syscall"
	"time"

	"photree/cli"
)

// untilRemoved returns a context that ends when dir is removed. It looks now and then: the kernel tells of a removed
// directory only once nobody has it open, and as working directory this process has.
func untilRemoved(env *cli.Env, dir string) (context.Context, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(env.Ctx)
	go func() {
		defer f.Close()
		tick := time.NewTicker(removedEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			info, err := f.Stat()
			if err != nil {
				cancel(err)
				return
			}
			if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Nlink == 0 {
				cancel(errRemoved)
				return
			}
		}
	}()
	return ctx, nil
}
