"""The engine: token ids in, token ids and an account of their cost out.

A reader's way in: `request.py` (the boundary), `engine.py` (the loop and its thread),
`scheduler.py` (who runs next), `batch.py` (one step's tensors), `sampling.py` (the choice).

Use it like this, from any thread:

    loaded = load_model("path/to/model")            # stemfirst_server.model.loading
    engine = Engine(loaded, EngineConfig())          # stemfirst_server.engine.engine
    engine.start()
    handle = engine.submit(request, on_event=push)   # or: handle = engine.submit(request)
    completion = handle.result(timeout=60)           # or: for event in handle.events(): ...
    engine.abort(request.request_id)                 # a FinishEvent follows, once
    engine.measure_prefill(1024, 512)                # milliseconds, on scratch pages
    engine.info, engine.stats(), engine.check(), engine.flush(), engine.stop(timeout=2)

`on_event` is called from the engine's thread and must not block. `submit` raises
`InvalidRequestError`, `ContextLengthError` or `EngineStoppedError`; later faults arrive as a
`FinishEvent` with `FinishReason.ERROR`.
"""
