package installer

import (
	"context"
	"errors"
)

func install(context.Context, Options) (Result, error) {
	return Result{}, errors.New("installing: not written yet")
}

func writeISO(context.Context, ISOOptions) (ISOResult, error) {
	return ISOResult{}, errors.New("writing an ISO: not written yet")
}
