//! The protocol: what a client asks, in two calls. The first says what there will be, the second brings it.

use std::pin::Pin;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::encode::{DictionaryHandling, FlightDataEncoderBuilder};
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::sql::server::{FlightSqlService, PeekableFlightDataStream};
use arrow_flight::sql::{
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest,
    ActionCreatePreparedStatementResult, CommandGetCatalogs, CommandGetCrossReference, CommandGetDbSchemas,
    CommandGetExportedKeys, CommandGetImportedKeys, CommandGetPrimaryKeys, CommandGetSqlInfo,
    CommandGetTableTypes, CommandGetTables, CommandGetXdbcTypeInfo, CommandPreparedStatementQuery,
    CommandStatementQuery, DoPutPreparedStatementResult, ProstMessageExt, SqlInfo, TicketStatementQuery,
};
use arrow_flight::{
    FlightDescriptor, FlightEndpoint, FlightInfo, HandshakeRequest, HandshakeResponse, SchemaAsIpc, Ticket,
};
use arrow_ipc::CompressionType;
use arrow_ipc::writer::IpcWriteOptions;
use bytes::Bytes;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures_util::{Stream, TryStreamExt as _};
use liandong_node::now::now_ms;
use prost::Message as _;
use tonic::{Request, Response, Status, Streaming};

use super::answer::Answer;
use super::engine::Engine;
use super::shelf::{CATALOG, Shelf};
use super::statement::Statement;
use super::table::Place;
use super::told::{self, status};
use super::whole::{self, whole};
use crate::analysts::{Analyst, Desk};

type Sent<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
type Got = Result<Response<<Releases as FlightService>::DoGetStream>, Status>;

/// The header by which a client says that it can read answers compressed so: `lz4`.
const COMPRESSION: &str = "arrow-compression";

/// The service.
///
/// # Errors
/// When the directory of releases cannot be used.
pub fn service(desk: Desk) -> datafusion::error::Result<FlightServiceServer<Releases>> {
    let engine = Arc::new(Engine::new(&desk)?);
    Ok(FlightServiceServer::new(Releases { desk, engine }))
}

/// Releases over Flight SQL.
pub struct Releases {
    desk: Desk,
    engine: Arc<Engine>,
}

/// Who asks.
struct Asker {
    analyst: Arc<Analyst>,
    token: String,
    /// How answers may be compressed: not every client can read every compression, and the protocol has no word for it.
    compression: Option<CompressionType>,
}

impl Releases {
    fn admit<T>(&self, request: &Request<T>) -> Result<Asker, Status> {
        let shown = request.metadata().get("authorization").and_then(|shown| shown.to_str().ok());
        let (analyst, token) = self.desk.admit_with(shown, now_ms()).map_err(Status::unauthenticated)?;
        let takes = request.metadata().get(COMPRESSION);
        let compression = takes.filter(|takes| *takes == "lz4").map(|_| CompressionType::LZ4_FRAME);
        Ok(Asker { analyst, token, compression })
    }

    fn shelf(&self, asker: &Asker, latest: Option<u64>) -> Result<Arc<Shelf>, Status> {
        let newest = || self.desk.hub.releases().latest().map(|it| it.map_or(0, |manifest| manifest.release));
        let latest =
            latest.map_or_else(newest, Ok).map_err(|_| Status::internal("the releases cannot be read"))?;
        Ok(self.engine.shelf(&self.desk, Arc::clone(&asker.analyst), latest))
    }

    /// What will run for a statement, and which tables it reads.
    async fn planned(
        &self,
        asker: &Asker,
        statement: &Statement,
    ) -> Result<(Arc<dyn ExecutionPlan>, Run), Status> {
        let shelf = self.shelf(asker, Some(statement.latest))?;
        let (context, plan) =
            self.engine.plan(&shelf, &statement.sql).await.map_err(|error| status(&error))?;
        let plan = match statement.params()? {
            Some(values) => plan.with_param_values(values).map_err(|error| status(&error))?,
            None => plan,
        };
        let tables = Engine::tables(&plan);
        let state = context.state();
        let plan = state.optimize(&plan).map_err(|error| status(&error))?;
        let whole = whole(&plan);
        let plan = state.query_planner().create_physical_plan(&plan, &state).await;
        Ok((plan.map_err(|error| status(&error))?, Run { context, shelf, tables, whole }))
    }

    async fn info(&self, asker: &Asker, statement: &Statement, ticket: Bytes) -> Result<FlightInfo, Status> {
        let (plan, _) = self.planned(asker, statement).await?;
        let rows = match Engine::rows(&*plan) {
            Some(rows) => rows as i64,
            None => -1,
        };
        let info = FlightInfo::new().try_with_schema(&plan.schema()).map_err(internal)?;
        Ok(info
            .with_endpoint(FlightEndpoint::new().with_ticket(Ticket::new(ticket)))
            .with_total_records(rows))
    }

    fn watched<S>(&self, asker: Asker, tables: String, rows: S) -> Answer<S> {
        Answer::new(rows, self.desk.clone(), asker.analyst, asker.token, tables)
    }

    async fn answer(&self, asker: Asker, statement: &Statement) -> Got {
        let (plan, run) = self.planned(&asker, statement).await?;
        let schema = plan.schema();
        let compression = asker.compression;
        if let Some(place) = run.whole.as_ref().filter(|_| compression.is_some())
            && let Some(messages) = whole::messages(&run.shelf, place).await?
        {
            let messages = self.watched(asker, run.tables, messages);
            return Ok(Response::new(whole::sent(messages)));
        }
        let rows = execute_stream(plan, run.context.task_ctx()).map_err(|error| status(&error))?;
        let rows = self.watched(asker, run.tables, rows.map_err(|error| status(&error)));
        sent(schema, compression, rows.map_err(|status| FlightError::Tonic(Box::new(status))))
    }
}

/// What a plan runs in.
struct Run {
    context: datafusion::prelude::SessionContext,
    shelf: Arc<Shelf>,
    tables: String,
    /// The table that it is all of.
    whole: Option<Arc<Place>>,
}

fn internal(error: impl std::fmt::Display) -> Status {
    Status::internal(error.to_string())
}

fn sent(
    schema: SchemaRef,
    compression: Option<CompressionType>,
    rows: impl Stream<Item = Result<RecordBatch, FlightError>> + Send + 'static,
) -> Got {
    let options = IpcWriteOptions::default().try_with_compression(compression).map_err(internal)?;
    let data = FlightDataEncoderBuilder::new()
        .with_schema(schema)
        .with_options(options)
        .with_dictionary_handling(DictionaryHandling::Resend)
        .build(rows);
    Ok(Response::new(Box::pin(data.map_err(Status::from))))
}

fn once(batch: RecordBatch) -> Got {
    sent(batch.schema(), None, futures_util::stream::iter([Ok(batch)]))
}

/// What there will be to a question about the releases themselves.
fn told_info(
    command: &impl ProstMessageExt,
    schema: &Schema,
    asked: Request<FlightDescriptor>,
) -> Result<Response<FlightInfo>, Status> {
    let ticket = Ticket::new(command.as_any().encode_to_vec());
    let info = FlightInfo::new().try_with_schema(schema).map_err(internal)?;
    let info =
        info.with_endpoint(FlightEndpoint::new().with_ticket(ticket)).with_descriptor(asked.into_inner());
    Ok(Response::new(info))
}

fn ipc(schema: &Schema) -> Result<Bytes, Status> {
    let message = SchemaAsIpc::new(schema, &IpcWriteOptions::default()).try_into();
    let arrow_flight::IpcMessage(bytes) =
        message.map_err(|error: arrow::error::ArrowError| internal(error))?;
    Ok(bytes)
}

#[tonic::async_trait]
impl FlightSqlService for Releases {
    type FlightService = Releases;

    async fn do_handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Sent<HandshakeResponse>>, Status> {
        let Asker { token, .. } = self.admit(&request)?;
        let answer = HandshakeResponse { protocol_version: 0, payload: token.clone().into_bytes().into() };
        let mut response: Response<Sent<HandshakeResponse>> =
            Response::new(Box::pin(futures_util::stream::iter([Ok(answer)])));
        let bearer = format!("Bearer {token}").parse().map_err(internal)?;
        response.metadata_mut().insert("authorization", bearer);
        Ok(response)
    }

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let asker = self.admit(&request)?;
        let latest = self.shelf(&asker, None)?.latest;
        let statement = Statement { sql: query.query, latest, values: Vec::new() };
        let ticket = TicketStatementQuery { statement_handle: statement.handle() };
        let info = self.info(&asker, &statement, ticket.as_any().encode_to_vec().into()).await?;
        Ok(Response::new(info.with_descriptor(request.into_inner())))
    }

    async fn do_get_statement(&self, ticket: TicketStatementQuery, request: Request<Ticket>) -> Got {
        let asker = self.admit(&request)?;
        self.answer(asker, &Statement::read(&ticket.statement_handle)?).await
    }

    async fn do_action_create_prepared_statement(
        &self,
        query: ActionCreatePreparedStatementRequest,
        request: Request<arrow_flight::Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        let asker = self.admit(&request)?;
        let shelf = self.shelf(&asker, None)?;
        let (_, plan) = self.engine.plan(&shelf, &query.query).await.map_err(|error| status(&error))?;
        let parameters = Engine::parameters(&plan).map_err(|error| status(&error))?;
        let statement = Statement { sql: query.query, latest: shelf.latest, values: Vec::new() };
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle: statement.handle(),
            dataset_schema: ipc(plan.schema().as_arrow())?,
            parameter_schema: ipc(&parameters)?,
        })
    }

    async fn do_action_close_prepared_statement(
        &self,
        _: ActionClosePreparedStatementRequest,
        request: Request<arrow_flight::Action>,
    ) -> Result<(), Status> {
        self.admit(&request).map(drop)
    }

    async fn do_put_prepared_statement_query(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        self.admit(&request)?;
        let statement = Statement::read(&query.prepared_statement_handle)?;
        let data =
            request.into_inner().into_peekable().map_err(|status| FlightError::Tonic(Box::new(status)));
        let mut batches = FlightRecordBatchStream::new_from_flight_data(data);
        let mut statement = Some(statement);
        while let Some(batch) = batches.try_next().await.map_err(Status::from)? {
            if batch.num_rows() > 0 {
                statement = statement.map(|statement| statement.with(&batch)).transpose()?;
            }
        }
        Ok(DoPutPreparedStatementResult { prepared_statement_handle: statement.map(|it| it.handle()) })
    }

    async fn get_flight_info_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let asker = self.admit(&request)?;
        let statement = Statement::read(&query.prepared_statement_handle)?;
        let info = self.info(&asker, &statement, query.as_any().encode_to_vec().into()).await?;
        Ok(Response::new(info.with_descriptor(request.into_inner())))
    }

    async fn do_get_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<Ticket>,
    ) -> Got {
        let asker = self.admit(&request)?;
        self.answer(asker, &Statement::read(&query.prepared_statement_handle)?).await
    }

    async fn get_flight_info_catalogs(
        &self,
        query: CommandGetCatalogs,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.admit(&request)?;
        told_info(&query, &query.into_builder().schema(), request)
    }

    async fn do_get_catalogs(&self, query: CommandGetCatalogs, request: Request<Ticket>) -> Got {
        self.admit(&request)?;
        let mut builder = query.into_builder();
        builder.append(CATALOG);
        once(builder.build().map_err(internal)?)
    }

    async fn get_flight_info_schemas(
        &self,
        query: CommandGetDbSchemas,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.admit(&request)?;
        told_info(&query, &query.clone().into_builder().schema(), request)
    }

    async fn do_get_schemas(&self, query: CommandGetDbSchemas, request: Request<Ticket>) -> Got {
        let asker = self.admit(&request)?;
        let shelf = self.shelf(&asker, None)?;
        once(told::schemas(query, &shelf)?)
    }

    async fn get_flight_info_tables(
        &self,
        query: CommandGetTables,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.admit(&request)?;
        told_info(&query, &query.clone().into_builder().schema(), request)
    }

    async fn do_get_tables(&self, query: CommandGetTables, request: Request<Ticket>) -> Got {
        let asker = self.admit(&request)?;
        let shelf = self.shelf(&asker, None)?;
        once(told::tables(query, &shelf).await?)
    }

    async fn get_flight_info_table_types(
        &self,
        query: CommandGetTableTypes,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.admit(&request)?;
        told_info(&query, &query.into_builder().schema(), request)
    }

    async fn do_get_table_types(&self, query: CommandGetTableTypes, request: Request<Ticket>) -> Got {
        self.admit(&request)?;
        let mut builder = query.into_builder();
        ["TABLE", "VIEW"].into_iter().for_each(|kind| builder.append(kind));
        once(builder.build().map_err(internal)?)
    }

    async fn get_flight_info_sql_info(
        &self,
        query: CommandGetSqlInfo,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.admit(&request)?;
        told_info(&query, &query.clone().into_builder(&told::INFO).schema(), request)
    }

    async fn do_get_sql_info(&self, query: CommandGetSqlInfo, request: Request<Ticket>) -> Got {
        self.admit(&request)?;
        once(query.into_builder(&told::INFO).build().map_err(internal)?)
    }

    async fn get_flight_info_xdbc_type_info(
        &self,
        query: CommandGetXdbcTypeInfo,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.admit(&request)?;
        told_info(&query, &query.into_builder(&told::TYPES).schema(), request)
    }

    async fn do_get_xdbc_type_info(&self, query: CommandGetXdbcTypeInfo, request: Request<Ticket>) -> Got {
        self.admit(&request)?;
        once(query.into_builder(&told::TYPES).build().map_err(internal)?)
    }

    async fn get_flight_info_primary_keys(
        &self,
        query: CommandGetPrimaryKeys,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.admit(&request)?;
        told_info(&query, &told::PRIMARY_KEYS, request)
    }

    async fn do_get_primary_keys(&self, query: CommandGetPrimaryKeys, request: Request<Ticket>) -> Got {
        let role = self.admit(&request)?.analyst.reader.role();
        once(told::primary_keys(role, query.db_schema.as_deref().unwrap_or("latest"), &query.table))
    }

    async fn get_flight_info_exported_keys(
        &self,
        query: CommandGetExportedKeys,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.admit(&request)?;
        told_info(&query, &told::FOREIGN_KEYS, request)
    }

    async fn do_get_exported_keys(&self, query: CommandGetExportedKeys, request: Request<Ticket>) -> Got {
        let role = self.admit(&request)?.analyst.reader.role();
        once(told::foreign_keys(
            role,
            query.db_schema.as_deref().unwrap_or("latest"),
            None,
            Some(&query.table),
        ))
    }

    async fn get_flight_info_imported_keys(
        &self,
        query: CommandGetImportedKeys,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.admit(&request)?;
        told_info(&query, &told::FOREIGN_KEYS, request)
    }

    async fn do_get_imported_keys(&self, query: CommandGetImportedKeys, request: Request<Ticket>) -> Got {
        let role = self.admit(&request)?.analyst.reader.role();
        once(told::foreign_keys(
            role,
            query.db_schema.as_deref().unwrap_or("latest"),
            Some(&query.table),
            None,
        ))
    }

    async fn get_flight_info_cross_reference(
        &self,
        query: CommandGetCrossReference,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.admit(&request)?;
        told_info(&query, &told::FOREIGN_KEYS, request)
    }

    async fn do_get_cross_reference(&self, query: CommandGetCrossReference, request: Request<Ticket>) -> Got {
        let role = self.admit(&request)?.analyst.reader.role();
        let schema = query.fk_db_schema.as_deref().unwrap_or("latest");
        once(told::foreign_keys(role, schema, Some(&query.fk_table), Some(&query.pk_table)))
    }

    async fn register_sql_info(&self, _: i32, _: &SqlInfo) {}
}
