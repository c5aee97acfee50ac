package installer

import (
	"context"
	"errors"
)

func writeISO(context.Context, ISOOptions) (ISOResult, error) {
	return ISOResult{}, errors.New("writing an ISO: not written yet")
}
