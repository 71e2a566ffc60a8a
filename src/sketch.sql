-- sketch.sql: type meter_sketch, a mergeable percentile sketch

CREATE TYPE @extschema@.meter_sketch;

CREATE FUNCTION @extschema@.meter_sketch_in(cstring)
RETURNS @extschema@.meter_sketch
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'meter_sketch_in';
COMMENT ON FUNCTION @extschema@.meter_sketch_in(cstring) IS
'input function of meter_sketch';

CREATE FUNCTION @extschema@.meter_sketch_out(@extschema@.meter_sketch)
RETURNS cstring
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'meter_sketch_out';
COMMENT ON FUNCTION @extschema@.meter_sketch_out(@extschema@.meter_sketch) IS
'output function of meter_sketch';

CREATE FUNCTION @extschema@.meter_sketch_recv(internal)
RETURNS @extschema@.meter_sketch
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'meter_sketch_recv';
COMMENT ON FUNCTION @extschema@.meter_sketch_recv(internal) IS
'receive function of meter_sketch';

CREATE FUNCTION @extschema@.meter_sketch_send(@extschema@.meter_sketch)
RETURNS bytea
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'meter_sketch_send';
COMMENT ON FUNCTION @extschema@.meter_sketch_send(@extschema@.meter_sketch) IS
'send function of meter_sketch: its binary form, as stored';

CREATE TYPE @extschema@.meter_sketch (
	INPUT = @extschema@.meter_sketch_in,
	OUTPUT = @extschema@.meter_sketch_out,
	RECEIVE = @extschema@.meter_sketch_recv,
	SEND = @extschema@.meter_sketch_send,
	INTERNALLENGTH = VARIABLE,
	STORAGE = extended
);
COMMENT ON TYPE @extschema@.meter_sketch IS
'percentile sketch: every percentile within a guaranteed relative accuracy, merges exactly';

CREATE FUNCTION @extschema@.meter_sketch_eq(@extschema@.meter_sketch, @extschema@.meter_sketch)
RETURNS boolean
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'meter_sketch_eq';
COMMENT ON FUNCTION @extschema@.meter_sketch_eq(@extschema@.meter_sketch, @extschema@.meter_sketch) IS
'implementation of = operator';

CREATE FUNCTION @extschema@.meter_sketch_ne(@extschema@.meter_sketch, @extschema@.meter_sketch)
RETURNS boolean
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'meter_sketch_ne';
COMMENT ON FUNCTION @extschema@.meter_sketch_ne(@extschema@.meter_sketch, @extschema@.meter_sketch) IS
'implementation of <> operator';

CREATE OPERATOR @extschema@.= (
	LEFTARG = @extschema@.meter_sketch,
	RIGHTARG = @extschema@.meter_sketch,
	FUNCTION = @extschema@.meter_sketch_eq,
	COMMUTATOR = OPERATOR(@extschema@.=),
	NEGATOR = OPERATOR(@extschema@.<>),
	RESTRICT = eqsel,
	JOIN = eqjoinsel
);
COMMENT ON OPERATOR @extschema@.= (@extschema@.meter_sketch, @extschema@.meter_sketch) IS
'equal: sketches of the same content are';

CREATE OPERATOR @extschema@.<> (
	LEFTARG = @extschema@.meter_sketch,
	RIGHTARG = @extschema@.meter_sketch,
	FUNCTION = @extschema@.meter_sketch_ne,
	COMMUTATOR = OPERATOR(@extschema@.<>),
	NEGATOR = OPERATOR(@extschema@.=),
	RESTRICT = neqsel,
	JOIN = neqjoinsel
);
COMMENT ON OPERATOR @extschema@.<> (@extschema@.meter_sketch, @extschema@.meter_sketch) IS
'not equal';

-- Aggregates.  The state is a few kB at most, for planning of hash aggregation.

CREATE FUNCTION @extschema@.meter_sketch_agg_add(internal, double precision)
RETURNS internal
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'meter_sketch_agg_add';
COMMENT ON FUNCTION @extschema@.meter_sketch_agg_add(internal, double precision) IS
'transition function of meter_sketch_agg';

CREATE FUNCTION @extschema@.meter_sketch_agg_add(internal, double precision, double precision)
RETURNS internal
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'meter_sketch_agg_add';
COMMENT ON FUNCTION @extschema@.meter_sketch_agg_add(internal, double precision, double precision) IS
'transition function of meter_sketch_agg with an accuracy';

CREATE FUNCTION @extschema@.meter_sketch_agg_merge(internal, @extschema@.meter_sketch)
RETURNS internal
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'meter_sketch_agg_merge';
COMMENT ON FUNCTION @extschema@.meter_sketch_agg_merge(internal, @extschema@.meter_sketch) IS
'transition function of meter_sketch_merge';

CREATE FUNCTION @extschema@.meter_sketch_agg_combine(internal, internal)
RETURNS internal
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'meter_sketch_agg_combine';
COMMENT ON FUNCTION @extschema@.meter_sketch_agg_combine(internal, internal) IS
'combine function of the aggregates that make a meter_sketch';

CREATE FUNCTION @extschema@.meter_sketch_agg_serialize(internal)
RETURNS bytea
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'meter_sketch_agg_serialize';
COMMENT ON FUNCTION @extschema@.meter_sketch_agg_serialize(internal) IS
'serial function of the aggregates that make a meter_sketch';

CREATE FUNCTION @extschema@.meter_sketch_agg_deserialize(bytea, internal)
RETURNS internal
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'meter_sketch_agg_deserialize';
COMMENT ON FUNCTION @extschema@.meter_sketch_agg_deserialize(bytea, internal) IS
'deserial function of the aggregates that make a meter_sketch';

CREATE FUNCTION @extschema@.meter_sketch_agg_final(internal)
RETURNS @extschema@.meter_sketch
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'meter_sketch_agg_final';
COMMENT ON FUNCTION @extschema@.meter_sketch_agg_final(internal) IS
'final function of the aggregates that make a meter_sketch';

CREATE AGGREGATE @extschema@.meter_sketch_agg(double precision) (
	SFUNC = @extschema@.meter_sketch_agg_add,
	STYPE = internal,
	SSPACE = 4096,
	FINALFUNC = @extschema@.meter_sketch_agg_final,
	FINALFUNC_MODIFY = READ_ONLY,
	COMBINEFUNC = @extschema@.meter_sketch_agg_combine,
	SERIALFUNC = @extschema@.meter_sketch_agg_serialize,
	DESERIALFUNC = @extschema@.meter_sketch_agg_deserialize,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE @extschema@.meter_sketch_agg(double precision) IS
'sketch of the values, with an accuracy of 0.01';

CREATE AGGREGATE @extschema@.meter_sketch_agg(double precision, accuracy double precision) (
	SFUNC = @extschema@.meter_sketch_agg_add,
	STYPE = internal,
	SSPACE = 4096,
	FINALFUNC = @extschema@.meter_sketch_agg_final,
	FINALFUNC_MODIFY = READ_ONLY,
	COMBINEFUNC = @extschema@.meter_sketch_agg_combine,
	SERIALFUNC = @extschema@.meter_sketch_agg_serialize,
	DESERIALFUNC = @extschema@.meter_sketch_agg_deserialize,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE @extschema@.meter_sketch_agg(double precision, accuracy double precision) IS
'sketch of the values, with an accuracy from 0.0001 to 0.25';

CREATE AGGREGATE @extschema@.meter_sketch_merge(@extschema@.meter_sketch) (
	SFUNC = @extschema@.meter_sketch_agg_merge,
	STYPE = internal,
	SSPACE = 4096,
	FINALFUNC = @extschema@.meter_sketch_agg_final,
	FINALFUNC_MODIFY = READ_ONLY,
	COMBINEFUNC = @extschema@.meter_sketch_agg_combine,
	SERIALFUNC = @extschema@.meter_sketch_agg_serialize,
	DESERIALFUNC = @extschema@.meter_sketch_agg_deserialize,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE @extschema@.meter_sketch_merge(@extschema@.meter_sketch) IS
'merge of the sketches: the sketch of all their values';

-- What to ask of a sketch.

CREATE FUNCTION @extschema@.meter_sketch_union(@extschema@.meter_sketch, @extschema@.meter_sketch)
RETURNS @extschema@.meter_sketch
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'meter_sketch_union';
COMMENT ON FUNCTION @extschema@.meter_sketch_union(@extschema@.meter_sketch, @extschema@.meter_sketch) IS
'merge of two sketches; NULL counts as no sketch';

CREATE FUNCTION @extschema@.meter_percentile(@extschema@.meter_sketch, double precision)
RETURNS double precision
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'meter_percentile';
COMMENT ON FUNCTION @extschema@.meter_percentile(@extschema@.meter_sketch, double precision) IS
'percentile (0 to 1) of the values, as percentile_disc, within the accuracy of the sketch';

CREATE FUNCTION @extschema@.meter_percentile(@extschema@.meter_sketch, double precision[])
RETURNS double precision[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'meter_percentile_array';
COMMENT ON FUNCTION @extschema@.meter_percentile(@extschema@.meter_sketch, double precision[]) IS
'several percentiles at once';

CREATE FUNCTION @extschema@.meter_sketch_count(@extschema@.meter_sketch)
RETURNS bigint
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'meter_sketch_count';
COMMENT ON FUNCTION @extschema@.meter_sketch_count(@extschema@.meter_sketch) IS
'number of values, exact';

CREATE FUNCTION @extschema@.meter_sketch_sum(@extschema@.meter_sketch)
RETURNS double precision
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'meter_sketch_sum';
COMMENT ON FUNCTION @extschema@.meter_sketch_sum(@extschema@.meter_sketch) IS
'sum of the values, the exact sum rounded once';

CREATE FUNCTION @extschema@.meter_sketch_avg(@extschema@.meter_sketch)
RETURNS double precision
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'meter_sketch_avg';
COMMENT ON FUNCTION @extschema@.meter_sketch_avg(@extschema@.meter_sketch) IS
'mean of the values, the exact mean rounded once';

CREATE FUNCTION @extschema@.meter_sketch_min(@extschema@.meter_sketch)
RETURNS double precision
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'meter_sketch_min';
COMMENT ON FUNCTION @extschema@.meter_sketch_min(@extschema@.meter_sketch) IS
'smallest value, exact';

CREATE FUNCTION @extschema@.meter_sketch_max(@extschema@.meter_sketch)
RETURNS double precision
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'meter_sketch_max';
COMMENT ON FUNCTION @extschema@.meter_sketch_max(@extschema@.meter_sketch) IS
'largest value, exact';

CREATE FUNCTION @extschema@.meter_sketch_accuracy(@extschema@.meter_sketch)
RETURNS double precision
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'meter_sketch_accuracy';
COMMENT ON FUNCTION @extschema@.meter_sketch_accuracy(@extschema@.meter_sketch) IS
'guaranteed relative accuracy of the percentiles';

CREATE FUNCTION @extschema@.meter_sketch_histogram(@extschema@.meter_sketch, double precision[])
RETURNS bigint[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'meter_sketch_histogram';
COMMENT ON FUNCTION @extschema@.meter_sketch_histogram(@extschema@.meter_sketch, double precision[]) IS
'Cumulative histogram: for each bound, in ascending order, about how many values are less than or equal to it. The histogram of a merge is the sum of the histograms. Errors: 22023 for bounds that are null, NaN or not in ascending order';

CREATE FUNCTION @extschema@.meter_sketch_count_below(@extschema@.meter_sketch, double precision)
RETURNS bigint
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'meter_sketch_count_below';
COMMENT ON FUNCTION @extschema@.meter_sketch_count_below(@extschema@.meter_sketch, double precision) IS
'estimated number of values less than or equal to the given one';
